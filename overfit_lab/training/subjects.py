"""Trained models to look at: checkpoints of a run, or a weights file, each as the snapshots that probes see."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from overfit_lab.config import ProbesConfig, RunConfig
from overfit_lab.config.trust import check_trusted
from overfit_lab.errors import ConfigError, RunFolderError
from overfit_lab.files.arrays import write_arrays
from overfit_lab.models.weights import load_into, read_weights
from overfit_lab.probes.priors.store import PriorStore
from overfit_lab.probes.snapshot import RAW, Snapshot
from overfit_lab.records import layout
from overfit_lab.records.computed import config_of
from overfit_lab.records.environment import command, git_revision, hardware, now, versions
from overfit_lab.records.history import FolderHistory
from overfit_lab.records.status import running
from overfit_lab.seeds import private_streams
from overfit_lab.training.build import build
from overfit_lab.training.checkpoint import load_checkpoint, restore
from overfit_lab.training.compute import resolve_device
from overfit_lab.training.session import Session
from overfit_lab.types import Clock, Dataset

MOST_NAMES = 1000
OnNote = Callable[[str], None]
"""Told something that the user should know, in one line."""


def describe(session: Session, status: str = "running") -> dict[str, Any]:
    """What run.json says of a run before it starts: seed, versions, hardware, sizes."""
    splits = session.data.splits
    return {
        "name": session.config.name,
        **(running() if status == "running" else {"status": status}),
        "seed": session.config.seed,
        "started": now(),
        "command": command(),
        "versions": versions(),
        "git_revision": git_revision(),
        "device": session.device.type,
        "hardware": hardware(session.device),
        "compute": session.compute,
        "n_parameters": sum(p.numel() for p in session.model.parameters()),
        "data": {
            "name": session.data.name,
            "read_as": session.data.describe(),
            "n_classes": session.data.n_classes,
            "class_names": list(session.data.class_names[:MOST_NAMES]),
            "shape": list(session.data.shape),
            "read_from": session.data.provenance.read_from,
            "notes": list(session.data.provenance.notes),
            "sizes": {name: len(split) for name, split in splits.items()},
            "n_resampled": int(splits["train"].corrupted.sum()),
            "n_changed": int((splits["train"].y != splits["train"].y_true).sum()),
        },
        "robust": session.objective.robust,
        "decay_epochs": list(getattr(session.schedule, "milestones", [])),
        "wall_seconds": 0.0,
    }


def save_samples(folder: Path, data: Dataset) -> None:
    """Keep in a run folder which file or row of the source each sample of each split is."""
    names = {name: split.sources.names() for name, split in data.splits.items() if split.sources is not None}
    if names:
        write_arrays(layout.samples_path(folder), names)


def open_run(folder: Path, *, device: str = "auto", trust: bool = False, probes: ProbesConfig | None = None) -> Session:
    """The objects of a run folder's configuration, with the run's initial weights as reference.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``.
        probes: in place of the run's own.

    Raises:
        RunFolderError: no run.
        ConfigError: the configuration names code and is not trusted, or does not fit together.
    """
    config = config_of(folder)
    check_trusted(config, str(folder), trust=trust)
    if probes is not None:
        config = config.model_copy(update={"probes": probes})
    session = build(config, resolve_device(device))
    session.priors.folder = folder
    take_initial(session, folder)
    return session


def take_initial(session: Session, folder: Path) -> None:
    """Make the initial weights that a run folder keeps the session's reference, where there are any.

    Raises:
        RunFolderError: they are damaged or do not fit the model.
    """
    initial = layout.checkpoint_path(folder, "initial")
    if not initial.is_file():
        return
    stored = load_checkpoint(initial).model
    for name, tensor in session.reference.items():
        if name not in stored or stored[name].shape != tensor.shape:
            raise RunFolderError(f"{initial}: does not fit the configuration, {name!r} is absent or of another shape")
        tensor.copy_(stored[name])


def at_checkpoints(session: Session, folder: Path, which: str, weights: str = RAW) -> Iterator[Snapshot]:
    """The snapshots of checkpoints, one after the other in the session's one model.

    Args:
        which: ``best``, ``final``, ``initial``, ``all``, an epoch, or several of them separated by commas; an epoch
            that several lead to comes once.
        weights: ``raw``, or the name of a regularizer that keeps second weights.

    Raises:
        RunFolderError: no such checkpoint.
        ConfigError: no such weights, or none were kept yet at any of the checkpoints.
    """
    paths = checkpoint_files(folder, which)
    session.history = lambda clock: FolderHistory(folder, clock.epoch)
    n_snapshots = 0
    for path in paths:
        loaded = load_checkpoint(path)
        with private_streams(0):
            restore(session, loaded)
        for snapshot in _with_weights(session, weights):
            n_snapshots += 1
            yield snapshot
    if not n_snapshots:
        raise ConfigError(f"weights {weights!r}: none kept yet at checkpoint {which!r}")


def checkpoint_files(folder: Path, which: str) -> list[Path]:
    """The files of checkpoints, see :func:`at_checkpoints`.

    Raises:
        RunFolderError: no such checkpoint.
    """
    by_epoch: dict[int, Path] = {}
    for name in which.split(","):
        for path in layout.checkpoint_paths(folder, name.strip()):
            by_epoch.setdefault(layout.epoch_of(path), path)
    return list(by_epoch.values())


def _with_weights(session: Session, weights: str) -> list[Snapshot]:
    """The snapshot of the weights that are asked for; none where a checkpoint is older than they are."""
    if weights == RAW:
        return [session.snapshot()]
    if weights not in session.regularizers:
        have = ", ".join([RAW, *session.regularizers])
        raise ConfigError(f"weights {weights!r}: this run has {have}")
    return [snapshot for snapshot in session.second_snapshots() if snapshot.weights == weights]


def open_weights(
    path: Path, config: RunConfig, *, device: str = "auto", on_note: OnNote | None = None, which: str | None = None
) -> Session:
    """The objects of a configuration with the weights of a file in the model; there is no theta_0 and no label mode.

    Args:
        path: .safetensors, .pt, .pth, .ckpt and the like; loaded as weights only.
        config: model, data, attack and seed; its training settings play no part.
        device: ``auto``, ``cpu`` or ``cuda``.
        on_note: told in a line what was taken from the file where that is not plain.
        which: key of the weights to take where the file holds several; None: the first that are no average.

    Raises:
        WeightsError: the file is unsafe, unreadable or does not fit the model.
        ConfigError: an unknown name or option.
    """
    state, choice = read_weights(path, which)
    session = build(config, resolve_device(device))
    session.weights_note = "; ".join(part for part in (choice, load_into(session.model, state)) if part)
    if session.weights_note and on_note is not None:
        on_note(f"{path}: {session.weights_note}")
    session.clock = Clock(epoch=config.epochs, step=0, n_epochs=config.epochs, progress=config.epochs)
    return session


def data_line(described: str) -> str:
    """What is said of a data set before it is used, from :meth:`overfit_lab.types.Dataset.describe`."""
    return f"data {described}"


def foreign_snapshot(session: Session) -> Snapshot:
    """The snapshot of a session that :func:`open_weights` made."""
    return replace(session.snapshot(), labels=None, reference=None, priors=PriorStore(), imported=True)


def fingerprint(model: nn.Module) -> str:
    """A hash of a model's parameters and buffers, their names and types, 16 hexadecimal digits.

    Buffers that no state dict holds, such as the constants that images are normalised with, are in it.
    """
    digest = hashlib.sha256()
    tensors: dict[str, torch.Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
