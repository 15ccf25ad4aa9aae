"""Files of arrays: plain numbers and text, no objects."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from overfit_lab.errors import RunFolderError
from overfit_lab.files.writing import make_folder, replacing


def read_arrays(path: Path, only: str | None = None) -> dict[str, np.ndarray]:
    """The arrays of a .npz file, by name; ``only`` reads a single one, which is missing where the file has it not.

    Raises:
        RunFolderError: damaged, or it holds anything but plain arrays.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as content:
            return {name: content[name] for name in content.files if only in (None, name)}
    except (ValueError, OSError, EOFError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise RunFolderError(f"{path}: damaged, or holds more than plain arrays") from error


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as a compressed .npz file, atomically; its folder is made where it is not there.

    Raises:
        ValueError: an array of Python objects, which only a pickle could hold.
    """
    if any(array.dtype.hasobject for array in arrays.values()):
        raise ValueError(f"{path.name}: expected numbers or text, got Python objects")
    make_folder(path.parent)
    with replacing(path, durable=True) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
