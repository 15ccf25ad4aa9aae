"""The same evaluations in several processes, to the bit: averaged weights, a checkpoint, and a foreign file."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from methods.test_averages import Restless
from overfit_lab.cli.main import run
from overfit_lab.files.arrays import read_arrays
from overfit_lab.records import layout
from overfit_lab.training.run import train_run
from tiny import tiny_config

TESTS = Path(__file__).parents[1]
NAME = "methods.test_averages:Restless"
"""Dropout before batch norm, whose statistics an average of weights computes anew; spectral norm."""
SCRIPT = "import json, sys; from overfit_lab.cli.main import run; sys.exit(max(map(run, json.loads(sys.argv[1]))))"
FEW = ["--steps", "2", "--n", "20", "--device", "cpu"]
FOREIGN = ["--model", NAME, "--data", "digits"]


def trained(folder):
    changes = {"model": {"name": NAME}, "regularizers": [{"name": "swa", "start_epoch": 1}], "probes": {}, "epochs": 2}
    train_run(tiny_config("hard", **changes, schedule="constant"), folder, device="cpu")


def begun(commands):
    """A process of its own that runs ``overfit-lab`` with each of some arguments, on one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"}
    environment.pop("PYTHONHASHSEED", None)
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, json.dumps(commands)], env=environment, stderr=subprocess.PIPE, text=True
    )


def commands_in(folder):
    """Three evaluations, whose outcomes go into the folder."""
    of_run = ["evaluate", str(folder / "run"), "--trust", *FEW]
    of_file = ["evaluate", str(folder.parent / "w.pth"), *FOREIGN, "--out", str(folder / "file"), *FEW]
    return [[*of_run, "--weights", "swa"], [*of_run, "--checkpoint", "best"], of_file]


def outcomes(folder):
    """The bits of every array of every outcome; not when and where it was made."""
    paths = [path for name in ("run", "file") for path in sorted(layout.evaluations(folder / name).glob("*.npz"))]
    arrays = {path.name: read_arrays(path) for path in paths}
    return {(name, key): array.tobytes() for name, of in arrays.items() for key, array in of.items() if key != "notes"}


def test_any_weights_thrice(tmp_path):
    trained(tmp_path / "run")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save({"state_dict": nn.DataParallel(Restless()).state_dict(), "epoch": 3}, tmp_path / "w.pth")
    folders = [tmp_path / name for name in ("here", "second", "third")]
    for folder in folders:
        shutil.copytree(tmp_path / "run", folder / "run")
    others = [begun(commands_in(folder)) for folder in folders[1:]]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert [run(command) for command in commands_in(folders[0])] == [0, 0, 0]
    finally:
        torch.set_num_threads(threads)
    for process in others:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    first, *others = map(outcomes, folders)
    assert len({name for name, _ in first}) == 3
    assert all(
        np.isfinite(np.frombuffer(bits, np.float32)).all() for (_, key), bits in first.items() if key == "logits"
    )
    assert all(other == first for other in others)
