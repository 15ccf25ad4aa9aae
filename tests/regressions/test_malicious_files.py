"""Files that would run a command when unpickled: refused in one line, and the command has not run.

Every way by which a file comes in is in ``ENTRIES``. A new command or option that reads a file adds one line there: a
function of a :class:`Place` that plants the bomb where the file would be and gives the command line.
"""

import os
import pickle
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from overfit_lab.cli.main import run
from overfit_lab.config import to_yaml
from overfit_lab.errors import RunFolderError
from overfit_lab.models.weights import TORCH_SUFFIXES
from overfit_lab.records.reader import Run
from tiny import tiny_config

SUFFIXES = (*TORCH_SUFFIXES, ".safetensors")


class Command:
    """Runs a command of the shell when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (os.system, (f"touch {self.mark}",))


class Code:
    """Runs Python code when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (exec, (f"open({str(self.mark)!r}, 'w').close()",))


class Hidden(Command):
    """The same by way of a function that takes a callable, as torch's and numpy's own rebuilding functions do."""

    def __reduce__(self):
        return (map, (os.system, [f"touch {self.mark}"]))


def write_pickle(path, bomb):
    path.write_bytes(pickle.dumps({"state_dict": bomb, "data": bomb}))


def write_zip(path, bomb):
    torch.save({"state_dict": {"linear.weight": torch.zeros(2)}, "args": bomb}, path)


def write_legacy(path, bomb):
    torch.save({"state_dict": bomb}, path, _use_new_zipfile_serialization=False)


def write_arrays(path, bomb):
    with open(path, "wb") as file:
        np.savez(file, features=np.array([bomb], dtype=object))


WRITERS = {"pickle": write_pickle, "torch": write_zip, "torch-legacy": write_legacy, "arrays": write_arrays}
SIZES = {"n_train": 96, "n_val": 32, "n_test": 64}


@dataclass
class Place:
    """Where a test plays.

    Args:
        folder: an empty folder, the current one.
        run: a finished run whose files may be replaced.
        plant: writes the bomb to a path.
        suffix: what a weights file ends in.
    """

    folder: Path
    run: Path
    plant: object
    suffix: str = ".pt"
    data: list = field(default_factory=lambda: [f"data.{key}={value}" for key, value in SIZES.items()])

    def bomb(self, name=None):
        path = self.folder / (name or f"evil{self.suffix}")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.plant(path)
        return str(path)

    def replace(self, name):
        path = self.run / name
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        self.plant(path)
        return str(self.run)

    def good(self):
        return str(self.run / "checkpoints" / "last.safetensors")


def sets(*assignments):
    return [part for assignment in assignments for part in ("--set", assignment)]


def probe(place, target, *more):
    options = ["--model", "mlp", "--data", "digits", *sets("model.hidden=16", *place.data)]
    return ["probe", target, "--metric", "calibration", *options, *more]


def iiw(place, target, *more):
    command = probe(place, target, *more)
    command[command.index("calibration")] = "iiw"
    return command


def attack(place, command, target, *more):
    options = ["--model", "mlp", "--data", "digits", *sets("model.hidden=16", *place.data)]
    return [command, target, *options, "--out", "out", *more]


def train(place, *assignments):
    (place.folder / "tiny.yaml").write_text(to_yaml(tiny_config("hard", epochs=1)))
    return ["train", "tiny.yaml", "--out", "out", *sets(*assignments)]


WEIGHTS = {
    "probe WEIGHTS": lambda place: probe(place, place.bomb()),
    "probe --reference": lambda place: probe(place, place.good(), "--reference", place.bomb()),
    "probe WEIGHTS --prior": lambda place: iiw(place, place.good(), "--prior", place.bomb()),
    "probe RUN --prior": lambda place: ["probe", str(place.run), "--metric", "iiw", "--prior", place.bomb()],
    "prior of a run": lambda place: train(
        place, "probes.metrics=iiw", "probes.options={iiw: {prior: " + place.bomb() + "}}"
    ),
    "evaluate WEIGHTS": lambda place: attack(place, "evaluate", place.bomb()),
    "check WEIGHTS": lambda place: attack(place, "check", place.bomb()),
    "evaluate RUN --source": lambda place: [
        *("evaluate", str(place.run), "--attack", "transfer", "--source", place.bomb())
    ],
    "evaluate WEIGHTS --source": lambda place: attack(
        place, "evaluate", place.good(), "--attack", "transfer", "--source", place.bomb()
    ),
    "check RUN --source": lambda place: ["check", str(place.run), "--source", place.bomb()],
    "label mode's teacher": lambda place: train(place, "labels.name=kd", f"labels.teacher={place.bomb()}"),
    "regularizer's teacher": lambda place: train(
        place, "regularizers=kd-at", f"regularizers.kd-at.robust_teacher={place.bomb()}"
    ),
}
"""Ways by which a weights file comes in, tried with every suffix."""

RUN_FILES = {
    "probe RUN, last": lambda place: [
        "probe",
        place.replace("checkpoints/last.safetensors"),
        "--metric",
        "calibration",
    ],
    "probe RUN, best": lambda place: [
        *("probe", place.replace("checkpoints/best.safetensors"), "--metric", "calibration"),
        *("--checkpoint", "best"),
    ],
    "probe RUN, initial": lambda place: ["probe", place.replace("checkpoints/initial.safetensors"), "--metric", "iiw"],
    "a run as prior": lambda place: train(
        place,
        "probes.metrics=iiw",
        "probes.options={iiw: {prior: " + place.replace("checkpoints/best.safetensors") + "}}",
    ),
    "a prior that a run keeps": lambda place: [
        *("probe", place.replace("priors/held-out.safetensors"), "--metric", "iiw", "--prior", "held-out")
    ],
    "train --resume, initial": lambda place: [
        *("train", str(place.run / "config.yaml"), "--resume"),
        *("--out", place.replace("checkpoints/initial.safetensors")),
    ],
    "train --resume": lambda place: [
        *("train", str(place.run / "config.yaml"), "--out", place.replace("checkpoints/last.safetensors"), "--resume")
    ],
    "a run as teacher": lambda place: train(
        place, "labels.name=kd", f"labels.teacher={place.replace('checkpoints/best.safetensors')}"
    ),
    "evaluate RUN": lambda place: ["evaluate", place.replace("checkpoints/last.safetensors")],
    "check RUN, best": lambda place: [
        "check",
        place.replace("checkpoints/best.safetensors"),
        "--checkpoint",
        "best",
    ],
    "a run as source": lambda place: [
        *("evaluate", str(place.run), "--attack", "transfer", "--checkpoint", "initial"),
        *("--source", place.replace("checkpoints/last.safetensors")),
    ],
    "an outcome of a run": lambda place: [
        *("evaluate", place.replace("evaluations/pgd-3-test-64-0004.npz"), "--attack", "pgd")
    ],
    "what an interrupted evaluation left": lambda place: [
        *("evaluate", place.replace("evaluations/.pgd-3-test-64-0004.npz.begun"), "--attack", "pgd", "--again")
    ],
    "arrays of checks": lambda place: [
        *("figure", "masking", place.replace("arrays/masking-0004.npz"), "--out", "masking.png")
    ],
    "run.json of a run in a table": lambda place: ["table", place.replace("run.json")],
    "figure's arrays": lambda place: [
        *("figure", "fig5", place.replace("arrays/features-0004.npz"), "--out", "fig5.png")
    ],
    "config.yaml of a run": lambda place: ["probe", place.replace("config.yaml"), "--metric", "calibration"],
    "run.json of a run": lambda place: ["figure", "overview", place.replace("run.json"), "--out", "overview.png"],
    "records of a run": lambda place: ["compare", place.replace("records.jsonl")],
}
"""Files of a run folder that somebody replaced."""

DATA = {
    "parquet": lambda place: train(place, f"data.name=parquet:{Path(place.bomb('set/train-0.parquet')).parent}"),
    "imagefolder": lambda place: train(
        place, f"data.name=imagefolder:{Path(place.bomb('set/train/a/0.png')).parents[2]}"
    ),
    "cifar10": lambda place: (
        [place.bomb(f"cifar-10-batches-py/{name}") for name in ("data_batch_1", "test_batch", "batches.meta")]
        and train(place, "data.name=cifar10", f"data.root={place.folder}")
    ),
    "svhn": lambda place: place.bomb("train_32x32.mat") and train(place, "data.name=svhn", f"data.root={place.folder}"),
    "mnist, old cache": lambda place: (
        [place.bomb(f"MNIST/processed/{name}.pt") for name in ("training", "test")]
        and train(place, "data.name=mnist", f"data.root={place.folder}")
    ),
}
"""Files of data sets."""

ARRAYS = ("figure's arrays", "an outcome of a run", "what an interrupted evaluation left", "arrays of checks")
ENTRIES = {**WEIGHTS, **RUN_FILES, **DATA}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("malicious")
    (folder / "tiny.yaml").write_text(to_yaml(tiny_config("hard")))
    assert run(["train", str(folder / "tiny.yaml"), "--out", str(folder / "run"), "--device", "cpu"]) == 0
    return folder / "run"


@pytest.fixture
def refused(trained, tmp_path, monkeypatch, capfd):
    """Plays an entry, and holds that it ends with status 2 and one line, and that nothing has run."""

    def play(entry, writer, kind=Command, suffix=".pt"):
        folder, copy, mark = tmp_path / "here", tmp_path / "run", tmp_path / "ran"
        folder.mkdir()
        shutil.copytree(trained, copy, ignore=shutil.ignore_patterns(".lock"))
        monkeypatch.chdir(folder)
        arguments = entry(Place(folder, copy, lambda path: writer(path, kind(mark)), suffix))
        capfd.readouterr()
        status = run(arguments)
        err = capfd.readouterr()[1]
        assert not mark.exists(), "the command has run"
        assert status == 2, err
        assert err.count("\n") == 1, err
        assert "Traceback" not in err
        assert not (folder / "out").exists()

    return play


@pytest.mark.parametrize("kind", [Command, Code, Hidden])
def test_the_bombs_go_off_where_a_pickle_is_loaded(tmp_path, kind):
    """Without this the tests below could pass for want of a bomb."""
    for name in ("pickle", "torch", "torch-legacy"):
        WRITERS[name](tmp_path / "evil", kind(tmp_path / "ran"))
        if name == "pickle":
            loaded = pickle.loads((tmp_path / "evil").read_bytes())["state_dict"]
        else:
            content = torch.load(tmp_path / "evil", weights_only=False)
            loaded = content["args"] if name == "torch" else content["state_dict"]
        list(loaded) if kind is Hidden else None
        assert (tmp_path / "ran").exists()
        (tmp_path / "ran").unlink()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("writer", ["pickle", "torch", "torch-legacy"])
def test_every_suffix(refused, suffix, writer):
    refused(WEIGHTS["probe WEIGHTS"], WRITERS[writer], suffix=suffix)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("entry", WEIGHTS)
def test_every_suffix_by_every_way_in(refused, entry, suffix):
    refused(WEIGHTS[entry], write_zip, suffix=suffix)


@pytest.mark.parametrize("kind", [Command, Code, Hidden])
def test_every_kind_of_bomb(refused, kind):
    refused(WEIGHTS["probe WEIGHTS"], write_zip, kind=kind)


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_way_in(refused, entry):
    refused(ENTRIES[entry], write_arrays if entry in ARRAYS else write_pickle)


@pytest.mark.parametrize("writer", ["arrays", "pickle"])
def test_arrays_of_a_run(trained, tmp_path, writer):
    """Notebooks read a run's arrays by ``Run.arrays``."""
    shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns(".lock"))
    WRITERS[writer](tmp_path / "run" / "arrays" / "features-0004.npz", Command(tmp_path / "ran"))
    with pytest.raises(RunFolderError, match="more than plain arrays"):
        Run.open(tmp_path / "run").arrays("features", 4)
    assert not (tmp_path / "ran").exists()


YAML = "!!python/object/apply:os.system ['touch {mark}']"
YAML_ENTRIES = {
    "train CONFIG": lambda folder, tag: ["train", "evil.yaml", "--out", "out"],
    "config CONFIG": lambda folder, tag: ["config", "evil.yaml"],
    "train --set": lambda folder, tag: ["train", "digits-hard", "--out", "out", "--set", f"model.hidden={tag}"],
    "train --grid": lambda folder, tag: ["train", "digits-hard", "--out", "out", "--grid", f"model.hidden={tag}"],
    "probe --set": lambda folder, tag: ["probe", str(folder / "run"), "--metric", "iiw", "--set", f"iiw.layers={tag}"],
    "config of a run": lambda folder, tag: ["probe", str(folder / "other"), "--metric", "calibration"],
}


@pytest.mark.parametrize("entry", YAML_ENTRIES)
def test_yaml_that_would_run_a_command(trained, tmp_path, monkeypatch, capfd, entry):
    tag = YAML.format(mark=tmp_path / "ran")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns(".lock"))
    shutil.copytree(trained, tmp_path / "other", ignore=shutil.ignore_patterns(".lock"))
    for path in (tmp_path / "evil.yaml", tmp_path / "other" / "config.yaml"):
        path.write_text(f"name: evil\nseed: {tag}\n")
    assert run(YAML_ENTRIES[entry](tmp_path, tag)) == 2
    err = capfd.readouterr()[1]
    assert err.count("\n") == 1
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "out").exists()
