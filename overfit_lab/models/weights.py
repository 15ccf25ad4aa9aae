"""Weights files, read as data: no file may run code while it is read."""

from __future__ import annotations

import argparse
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from overfit_lab.errors import RunFolderError, WeightsError
from overfit_lab.files.archive import open_archive
from overfit_lab.files.limits import PICKLE_BYTES, WEIGHTS_FLOOR, WEIGHTS_RATIO, in_bytes
from overfit_lab.files.reading import cause, open_file
from overfit_lab.files.tensorfile import read
from overfit_lab.models.fit import fit
from overfit_lab.models.spellings import strip_prefixes, unwrap

TORCH_SUFFIXES = (".pt", ".pth", ".ckpt", ".th", ".tar", ".bin", ".pkl")
OWN_PREFIX = "model/"
"""Prefix of the parameters' names in checkpoints of a run."""

NUMBERS = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
)
"""Kinds of numpy's numbers that a checkpoint may hold beside its tensors."""


DAMAGED = (
    *(RuntimeError, MemoryError, EOFError, OSError, ValueError),
    *(KeyError, TypeError, AttributeError, IndexError, OverflowError),
)
"""What torch raises on a file that is none of its own."""


def load_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file by parameter name, on the CPU; see :func:`read_weights`."""
    return read_weights(path)[0]


def read_weights(path: Path, which: str | None = None) -> tuple[dict[str, Tensor], str]:
    """The tensors of a weights file by parameter name, on the CPU, and a sentence on which they are of several.

    Takes .safetensors, and .pt, .pth, .ckpt, .th, .tar, .bin and .pkl as torch writes them, if they hold tensors, plain
    containers, numpy's numbers and argparse's namespaces only. A state dict may lie under ``state_dict``, ``model`` and
    the like; wrappers' prefixes such as ``module.`` are taken off where every name has them.

    Args:
        which: key of the state dict to take where there are several; None: the first that is no average.

    Raises:
        WeightsError: absent, of another kind, damaged, or it would have to run code to be read.
    """
    if not os.path.lexists(path):
        raise WeightsError(f"{path}: no such weights file")
    try:
        _refuse_stand_in(path)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({cause(error)})") from error
    if path.suffix == ".safetensors":
        content: Any = _load_safetensors(path)
    elif path.suffix in TORCH_SUFFIXES:
        content = _load_torch(path)
    else:
        raise WeightsError(f"{path}: expected a file ending in .safetensors, {', '.join(TORCH_SUFFIXES)}")
    state, note = unwrap(content, path, which)
    _check_sizes(state, path)
    return strip_prefixes(state), note


def load_into(model: nn.Module, state: Mapping[str, Tensor]) -> str:
    """Put a state dict into a model; nothing is changed where it does not fit.

    Names may be the model's own, or those of a code base that the model's family knows (see
    :mod:`overfit_lab.models.layouts`). Constants of normalisation beside the weights become the model's, unless the
    user named others (``model.normalize``).

    Returns:
        A sentence on the layout and constants used; "" if the names are the model's and nothing lay beside them.

    Raises:
        WeightsError: names or shapes differ; the message lists the first missing, unexpected and mis-shaped ones for
            the nearest layout.
    """
    return fit(model, state)


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        _, tensors = read(path)
    except (OSError, ValueError, RunFolderError) as error:
        raise WeightsError(f"{path}: damaged, or not a safetensors file ({cause(error)})") from error
    model_tensors = {name.removeprefix(OWN_PREFIX): t for name, t in tensors.items() if name.startswith(OWN_PREFIX)}
    return model_tensors or tensors


def harmless_globals() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Classes that a checkpoint may name beyond those of torch's weights-only loader; none can run code.

    Accuracies are often numpy's numbers, and options often a namespace. numpy 2 moved its core, and files keep the
    spelling of the numpy that wrote them.
    """
    rebuild_number: Callable[..., Any] = np.float64(0).__reduce__()[0]  # type: ignore[assignment]
    modules = ("numpy.core.multiarray", "numpy._core.multiarray")
    kinds = [type(np.dtype(kind)) for kind in NUMBERS]
    return [*((rebuild_number, f"{module}.scalar") for module in modules), np.dtype, *kinds, argparse.Namespace]


def _refuse_stand_in(path: Path) -> None:
    """Refuse what is saved in place of a file: a Git LFS pointer, or a web page."""
    with open_file(path) as file:
        beginning = file.read(512).lstrip().lower()
    if beginning.startswith(b"version https://git-lfs"):
        raise WeightsError(f"{path}: a Git LFS pointer, not the file itself; fetch it by `git lfs pull`")
    if beginning.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise WeightsError(f"{path}: a web page, not weights; download the file that its address leads to")


def _is_no_pickle(path: Path) -> bool:
    """Whether a file is neither a zip archive nor a pickle of a protocol that torch writes."""
    with open_file(path) as file:
        beginning = file.read(4)
    return not (beginning.startswith(b"PK") or (beginning[:1] == b"\x80" and beginning[1:2] <= b"\x05"))


def _first(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _check_archive(path: Path) -> None:
    """Refuse an archive that unfolds to far more than it is; torch reads whatever one holds.

    Raises:
        zipfile.BadZipFile: it does.
    """
    with open_file(path) as file:
        if file.read(2) != b"PK":
            return
        with open_archive(file, WEIGHTS_FLOOR, WEIGHTS_RATIO, 2**62) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(".pkl") and entry.file_size > PICKLE_BYTES:
                    raise zipfile.BadZipFile(f"{entry.filename[-60:]!r} has {in_bytes(entry.file_size)}")


def _check_sizes(state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse tensors that stand for more numbers than the file holds, as one number shown many times."""
    for name, tensor in state.items():
        if tensor.numel() * tensor.element_size() > max(WEIGHTS_FLOOR, tensor.untyped_storage().nbytes()):
            raise WeightsError(f"{path}: {name[:60]!r} has shape {tuple(tensor.shape)}, more numbers than the file has")


def _load_torch(path: Path) -> Any:
    try:
        _check_archive(path)
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path}: damaged, or not a weights file ({cause(error)})") from error
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(harmless_globals()):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if _is_no_pickle(path):
            raise WeightsError(f"{path}: damaged, or not a weights file ({_first(error)})") from error
        raise WeightsError(
            f"{path}: refused, it holds objects other than tensors and plain containers, which could run code on "
            "loading; save its state_dict alone"
        ) from error
    except DAMAGED as error:
        first = _first(error)
        if "TorchScript" in first:
            raise WeightsError(f"{path}: refused, a TorchScript archive holds code; save its state_dict") from error
        raise WeightsError(f"{path}: damaged, or not a weights file ({first})") from error
