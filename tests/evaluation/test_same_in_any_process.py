"""The same evaluation in several processes, to the bit."""

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
from overfit_lab.records import layout
from overfit_lab.records.arrays import read_arrays
from overfit_lab.training.run import train_run
from tiny import tiny_config

TESTS = Path(__file__).parents[1]
NAME = "methods.test_averages:Restless"
"""Dropout before batch norm, whose statistics an average of weights computes anew; spectral norm."""
TIMES = 3


def trained(folder):
    changes = {"model": {"name": NAME}, "regularizers": [{"name": "swa", "start_epoch": 1}], "probes": {}, "epochs": 2}
    train_run(tiny_config("hard", **changes, schedule="constant"), folder, device="cpu")
    return folder


def in_processes(commands):
    """Standard outputs of ``overfit-lab`` commands, each in a process of its own, all at once."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"}
    environment.pop("PYTHONHASHSEED", None)
    start = [sys.executable, "-m", "overfit_lab"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    running = [subprocess.Popen([*start, *map(str, command)], **pipes) for command in commands]
    outputs = [process.communicate(timeout=120) for process in running]
    assert all(process.returncode == 0 for process in running), outputs
    return [out for out, _ in outputs]


def outcomes(folders, targets, *options):
    """Bits of every array of the outcome, and its numbers, for each of the targets."""
    few = ["--steps", 2, "--n", 20, "--device", "cpu", "--json"]
    printed = in_processes([["evaluate", *target, *few, *options] for target in targets])
    found = []
    for folder, text in zip(folders, printed, strict=True):
        (path,) = layout.evaluations(folder).glob("*.npz")
        arrays = read_arrays(path)
        arrays.pop("notes")
        (numbers,) = json.loads(text)
        numbers.pop("seconds")
        found.append(({name: array.tobytes() for name, array in arrays.items()}, numbers))
    return found


def of_a_run(tmp_path, *options):
    """Of the checkpoints of one run, in copies of its folder."""
    run = trained(tmp_path / "run")
    copies = [Path(shutil.copytree(run, tmp_path / str(i))) for i in range(TIMES)]
    return outcomes(copies, [[copy, "--trust"] for copy in copies], *options)


def of_a_file(tmp_path, *options):
    """Of a weights file that no run of ours wrote."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save({"state_dict": nn.DataParallel(Restless()).state_dict(), "epoch": 3}, tmp_path / "w.pth")
    folders = [tmp_path / str(i) for i in range(TIMES)]
    foreign = ["--model", NAME, "--data", "digits"]
    return outcomes(folders, [[tmp_path / "w.pth", *foreign, "--out", out] for out in folders], *options)


def test_averaged_weights_with_dropout_and_batch_norm_thrice(tmp_path):
    first, *others = of_a_run(tmp_path, "--weights", "swa")
    assert all(other == first for other in others)
    bits, numbers = first
    assert numbers["weights"] == "swa"
    assert np.isfinite(np.frombuffer(bits["logits"], dtype=np.float32)).all()
