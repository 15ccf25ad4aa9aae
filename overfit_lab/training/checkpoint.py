"""Checkpoints: everything that a run needs to go on as if it had never stopped, in one file without pickles.

A checkpoint is a safetensors file. Tensors are grouped by prefix: ``model/``, ``optimizer/<parameter>/``, ``labels/``,
``regularizers/<name>/``, ``streams/``, ``epoch/`` and
``dynamics/<view>/``; what is no tensor is JSON in the file's metadata. Writing is atomic: a reader sees the old file or
the new one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from overfit_lab.errors import RunFolderError
from overfit_lab.files.reading import cause
from overfit_lab.files.tensorfile import read_tensors, write_tensors
from overfit_lab.seeds import Streams, get_streams, set_streams
from overfit_lab.training.session import Session
from overfit_lab.training.tally import EpochTallies
from overfit_lab.types import Clock


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Args:
        regularizers: each regularizer's memory by its name; those that have any.
        optimizer: state of each parameter by its position, then by name; empty in a light checkpoint.
        streams: the global random streams; None in a light checkpoint.
        notes: what else the writer put in, as JSON values.
        epoch: what the present epoch came to so far; empty at its end.
        dynamics: what was gathered of the training samples; empty in a light checkpoint.
    """

    clock: Clock
    model: dict[str, Tensor]
    labels: dict[str, Tensor]
    regularizers: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    optimizer: dict[int, dict[str, Any]] = field(default_factory=dict)
    streams: Streams | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    epoch: dict[str, Tensor] = field(default_factory=dict)
    dynamics: dict[str, Tensor] = field(default_factory=dict)


def save_checkpoint(
    path: Path, session: Session, *, resumable: bool, notes: dict[str, Any] | None = None, clock: Clock | None = None
) -> None:
    """Write the session's state.

    Args:
        resumable: also the optimiser's state and the random streams.
        notes: JSON values to keep with it.
        clock: the moment to go on from; None: where the session stands.
    """
    tensors = {f"model/{name}": t for name, t in session.model.state_dict().items()}
    tensors |= {f"labels/{name}": t for name, t in session.labels.state_dict().items()}
    for owner, regularizer in session.regularizers.items():
        tensors |= {f"regularizers/{owner}/{name}": t for name, t in regularizer.state_dict().items()}
    meta: dict[str, Any] = {"clock": vars(clock or session.clock), "notes": notes or {}}
    if resumable:
        if session.tallies is not None:
            tensors |= {f"epoch/{name}": t for name, t in session.tallies.state_dict().items()}
        if session.dynamics is not None:
            tensors |= {f"dynamics/{name}": t for name, t in session.dynamics.state_dict().items()}
        plain: dict[str, dict[str, Any]] = {}
        for i, state in session.optimizer.state_dict()["state"].items():
            for name, value in state.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer/{i}/{name}"] = value
                else:
                    plain.setdefault(str(i), {})[name] = value
        meta["optimizer"] = plain
        meta["streams"] = _pack_streams(get_streams(), tensors)
    write_tensors(path, tensors, meta)


def _pack_streams(streams: Streams, tensors: dict[str, Tensor]) -> dict[str, Any]:
    kind, keys, *rest = streams.numpy
    tensors["streams/numpy"] = torch.from_numpy(np.asarray(keys).astype(np.int64))
    tensors["streams/cpu"] = streams.cpu
    for i, state in enumerate(streams.cuda or []):
        tensors[f"streams/cuda{i}"] = state
    return {"python": streams.python, "numpy": [kind, *rest], "n_cuda": len(streams.cuda or [])}


def _unpack_streams(meta: dict[str, Any], tensors: dict[str, Tensor]) -> Streams:
    version, words, gauss = meta["python"]
    kind, *rest = meta["numpy"]
    keys = tensors["streams/numpy"].numpy().astype(np.uint32)
    cuda = [tensors[f"streams/cuda{i}"] for i in range(meta["n_cuda"])]
    return Streams((version, tuple(words), gauss), (kind, keys, *rest), tensors["streams/cpu"], cuda or None)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint file.

    Raises:
        RunFolderError: the file is absent, damaged, or no checkpoint of ours.
    """
    if not os.path.lexists(path):
        raise RunFolderError(f"{path}: no such checkpoint")
    meta, tensors = read_tensors(path)
    try:
        return Checkpoint(
            clock=Clock(**meta["clock"]),
            model=_group(tensors, "model/"),
            labels=_group(tensors, "labels/"),
            regularizers=_by_owner(_group(tensors, "regularizers/")),
            optimizer=_optimizer_state(tensors, meta.get("optimizer", {})),
            streams=_unpack_streams(meta["streams"], tensors) if "streams" in meta else None,
            notes=meta["notes"],
            epoch=_group(tensors, "epoch/"),
            dynamics=_group(tensors, "dynamics/"),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise RunFolderError(f"{path}: damaged, or not a checkpoint of overfit-lab ({error})") from error


def _group(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _by_owner(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    groups: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        owner, name = key.split("/", 1)
        groups.setdefault(owner, {})[name] = tensor
    return groups


def _optimizer_state(tensors: dict[str, Tensor], plain: dict[str, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    state: dict[int, dict[str, Any]] = {int(i): dict(values) for i, values in plain.items()}
    for key, tensor in _group(tensors, "optimizer/").items():
        i, name = key.split("/", 1)
        state.setdefault(int(i), {})[name] = tensor
    return state


def restore(session: Session, checkpoint: Checkpoint) -> None:
    """Put a checkpoint into a session: weights, memories, clock, and the optimiser where it has one.

    The global random streams are restored too where the checkpoint has them.

    Raises:
        RunFolderError: the checkpoint is of another model, label mode or regularizer, or a part of it is damaged.
    """
    try:
        session.model.load_state_dict(checkpoint.model)
        session.labels.load_state_dict(checkpoint.labels)
        for name, regularizer in session.regularizers.items():
            regularizer.load_state_dict(checkpoint.regularizers.get(name, {}))
    except (RuntimeError, ValueError) as error:
        first = str(error).splitlines()[-1].strip()
        raise RunFolderError(f"the checkpoint does not fit the configuration: {first}") from error
    session.clock = checkpoint.clock
    with _fitting("sums of the epoch"):
        if checkpoint.epoch:
            session.tallies = EpochTallies(session.device, session.reference)
            session.tallies.load_state_dict(checkpoint.epoch)
    with _fitting("dynamics of the samples"):
        if session.dynamics is not None:
            session.dynamics.load_state_dict(checkpoint.dynamics)
    with _fitting("state of the optimiser"):
        if checkpoint.optimizer:
            _restore_optimizer(session, checkpoint.optimizer)
    with _fitting("random states"):
        if checkpoint.streams is not None:
            set_streams(checkpoint.streams)


@contextmanager
def _fitting(what: str) -> Iterator[None]:
    """What a part of a checkpoint that is none raises is said in one line.

    Raises:
        RunFolderError: the part is none.
    """
    try:
        yield
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise RunFolderError(f"the checkpoint is damaged, its {what} cannot be restored ({cause(error)})") from error


def _restore_optimizer(session: Session, state: dict[int, dict[str, Any]]) -> None:
    parameters = [p for group in session.optimizer.param_groups for p in group["params"]]
    content = session.optimizer.state_dict()
    content["state"] = {
        i: {name: _like(parameters[i], value) for name, value in values.items()} for i, values in state.items()
    }
    session.optimizer.load_state_dict(content)


def _like(parameter: Tensor, value: Any) -> Any:
    """A tensor of the parameter's shape takes its memory format as well; anything else is as it was."""
    if isinstance(value, Tensor) and value.shape == parameter.shape:
        return torch.empty_like(parameter.detach(), dtype=value.dtype).copy_(value)
    return value
