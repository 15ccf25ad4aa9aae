"""Where everything lies in a run folder. No path outside of it can be formed from a record."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

from overfit_lab.errors import RunFolderError
from overfit_lab.files.json_text import read_object
from overfit_lab.files.tensor_header import read_notes
from overfit_lab.records.schema import RunInfo, check

PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]*")
IMPORTED = "imported"
"""What is said of weights that were trained elsewhere, in the place of an epoch too; they have none."""
SWEEP = "sweep.json"
"""Names the cells of a sweep, in the folder that holds them."""


def config_path(folder: Path) -> Path:
    """The run's configuration."""
    return folder / "config.yaml"


def info_path(folder: Path) -> Path:
    """What the run was made with and how it stands."""
    return folder / "run.json"


def read_info(folder: Path) -> dict[str, Any]:
    """What run.json says; the file is only ever replaced whole.

    Raises:
        RunFolderError: it is damaged or cannot be read, or a value is of the wrong kind.
    """
    path = info_path(folder)
    return check(read_object(path), RunInfo, path)


def records_path(folder: Path) -> Path:
    """Every number of the run, one a line."""
    return folder / "records.jsonl"


def samples_path(folder: Path) -> Path:
    """For each split the file or row of the source that each sample comes from, in the order of the split."""
    return folder / "samples.npz"


def posthoc_path(folder: Path) -> Path:
    """Numbers measured later, from checkpoints, in folders of earlier versions; now they are in records.jsonl."""
    return folder / "records-posthoc.jsonl"


def budgets_path(folder: Path) -> Path:
    """What was chosen for budgets of later probing, one entry a command."""
    return folder / "budget.json"


def sinks_path(folder: Path) -> Path:
    """How far each sink is in mirroring the records: epochs by name."""
    return folder / "sinks.json"


def checkpoints(folder: Path) -> Path:
    """The folder of checkpoints."""
    return folder / "checkpoints"


def resumable_path(folder: Path) -> Path | None:
    """The checkpoint that a run goes on from: the later one of that within an epoch and that of its end, if any."""
    paths = [
        path for path in (checkpoints(folder) / "midway.safetensors", checkpoint_path(folder, "last")) if path.is_file()
    ]
    return max(paths, key=lambda path: clock_of(path)["step"], default=None)


def arrays_path(folder: Path, probe: str, epoch: int) -> Path:
    """The arrays of one probe at one epoch.

    Raises:
        RunFolderError: the probe's name is no plain file name.
    """
    plain = probe.replace(":", "-")
    if not PLAIN_NAME.fullmatch(plain):
        raise RunFolderError(f"probe name {probe!r}: expected letters, digits, '-', '_', '.' and '@' only")
    return folder / "arrays" / f"{plain}-{epoch:04d}.npz"


def dynamics_path(folder: Path, view: str) -> Path:
    """What the network said of each training sample in each epoch, on ``adversarial`` or ``clean`` images."""
    return folder / "dynamics" / f"train-{view}.columns"


def running_path(folder: Path, view: str) -> Path:
    """Statistics of it over epochs."""
    return folder / "dynamics" / f"train-{view}-running.columns"


def prior_path(folder: Path, name: str) -> Path:
    """The weights of a prior that was trained for the run.

    Raises:
        RunFolderError: the prior's name is no plain file name.
    """
    if not PLAIN_NAME.fullmatch(name):
        raise RunFolderError(f"prior {name!r}: expected letters, digits, '-', '_', '.' and '@' only")
    return folder / "priors" / f"{name}.safetensors"


def evaluations(folder: Path) -> Path:
    """The folder of outcomes of attacks, sample by sample."""
    return folder / "evaluations"


def evaluation_path(folder: Path, attack: str, split: str, n: int, epoch: int | None) -> Path:
    """The outcome of one attack on ``n`` samples of a split at one epoch; None of imported weights.

    Raises:
        RunFolderError: the attack's name is no plain file name.
    """
    if not PLAIN_NAME.fullmatch(attack):
        raise RunFolderError(f"attack {attack!r}: expected letters, digits, '-', '_', '.' and '@' only")
    return evaluations(folder) / f"{attack}-{split}-{n}-{IMPORTED if epoch is None else f'{epoch:04d}'}.npz"


def checkpoint_path(folder: Path, name: str) -> Path:
    """The file of a checkpoint: ``initial``, ``last`` (also ``final``), ``best``, or an epoch.

    Raises:
        RunFolderError: another name.
    """
    name = "last" if name == "final" else name
    if name in ("initial", "last", "best"):
        return checkpoints(folder) / f"{name}.safetensors"
    if name.isdecimal():
        return checkpoints(folder) / f"epoch-{int(name):04d}.safetensors"
    raise RunFolderError(f"checkpoint {name!r}: expected best, final, initial, all or an epoch")


def checkpoint_paths(folder: Path, which: str) -> list[Path]:
    """The files that ``best``, ``final``, ``initial``, ``all`` or an epoch stands for.

    ``all`` is the initial weights, every kept epoch in order, and the last epoch where it was not kept.

    Raises:
        RunFolderError: no such checkpoint; the message lists what there is.
    """
    epochs = sorted(checkpoints(folder).glob("epoch-*.safetensors"))
    initial, last = checkpoint_path(folder, "initial"), checkpoint_path(folder, "last")
    if which == "all":
        paths = [*([initial] if initial.is_file() else []), *epochs]
        if last.is_file() and f"epoch-{epoch_of(last):04d}" not in {path.stem for path in epochs}:
            paths.append(last)
    else:
        path = checkpoint_path(folder, which)
        if which.isdecimal() and not path.is_file() and last.is_file() and int(which) == epoch_of(last):
            path = last
        paths = [path] if path.is_file() else []
    if not paths:
        numbers = [str(int(path.stem.removeprefix("epoch-"))) for path in epochs]
        names = [name for name in ("initial", "best", "last") if checkpoint_path(folder, name).is_file()]
        have = ", ".join([*names, *numbers]) or "none"
        raise RunFolderError(f"{folder}: no checkpoint {which!r}; it has: {have}")
    return paths


def epoch_of(checkpoint: Path) -> int:
    """Completed epochs at a checkpoint, as its file says.

    Raises:
        RunFolderError: damaged, or no checkpoint of ours.
    """
    return int(clock_of(checkpoint)["epoch"])


def clock_of(checkpoint: Path) -> dict[str, Any]:
    """Where training stands at a checkpoint, as its file says: epoch and step, and progress in epochs.

    Raises:
        RunFolderError: damaged, or no checkpoint of ours.
    """
    try:
        clock = read_notes(checkpoint)["clock"]
        return {"epoch": int(clock["epoch"]), "step": int(clock["step"]), "progress": float(clock["progress"])}
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RunFolderError(f"{checkpoint}: damaged, or not a checkpoint of overfit-lab ({error})") from error


def is_run(folder: Path) -> bool:
    """Whether the folder holds a run."""
    return config_path(folder).is_file() and info_path(folder).is_file()


def is_blank(folder: Path) -> bool:
    """Whether the folder holds no more than the beginning of a monitored run: no epoch was ever recorded."""
    if not is_run(folder) or (records_path(folder).is_file() and records_path(folder).stat().st_size):
        return False
    paths = (config_path(folder), info_path(folder), records_path(folder), samples_path(folder))
    beginning = {path.name for path in paths}
    there = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    return there <= beginning and "monitored" in read_info(folder)


def check_run(folder: Path) -> Path:
    """The folder, if it holds a run.

    Raises:
        RunFolderError: it does not.
    """
    if not folder.is_dir():
        raise RunFolderError(f"{folder}: no such run folder")
    if not is_run(folder):
        raise RunFolderError(f"{folder}: not a run folder (config.yaml and run.json are not both in it)")
    return folder


def check_vacant(folder: Path) -> None:
    """Refuse a folder that holds anything but the beginning of a monitored run; see :func:`is_blank`.

    Raises:
        RunFolderError: it is occupied, or a file, or the current folder, which cannot appear whole or not at all.
    """
    if folder.resolve() == Path.cwd():
        raise RunFolderError(f"{folder}: is the current folder; give --out a folder to make, such as runs/mine")
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder}: is a file, expected a folder to make")
    if folder.is_dir() and any(folder.iterdir()) and not is_blank(folder):
        reason = "already holds a run; go on with it by --resume, or" if is_run(folder) else "is not empty;"
        raise RunFolderError(f"{folder}: {reason} choose another --out")


def check_writable(folder: Path) -> None:
    """Refuse a folder in which nothing can be made; it need not exist yet, and nothing is left behind.

    Raises:
        RunFolderError: it, or the nearest folder above it that exists, is a file or cannot be written to.
    """
    try:
        nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not nearest.is_dir():
            raise RunFolderError(f"{folder}: cannot be made, {nearest} is a file")
        os.rmdir(tempfile.mkdtemp(prefix=".overfit-lab-", dir=nearest))
    except OSError as error:
        raise RunFolderError(f"{folder}: cannot be written to ({error.strerror})") from error
