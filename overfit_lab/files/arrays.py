"""Files of arrays: plain numbers and text, no objects. What they unfold to is known before any of it is unfolded."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from overfit_lab.errors import RunFolderError
from overfit_lab.files.archive import open_archive
from overfit_lab.files.limits import ARRAY_HEADER, ARRAYS_BYTES, ARRAYS_FLOOR, ARRAYS_RATIO, in_bytes
from overfit_lab.files.reading import cause, open_file
from overfit_lab.files.writing import make_folder, replacing

HEADERS: dict[tuple[int, int], Any] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
PLAIN = "biufSU"
"""Kinds of arrays that a file may hold: truths, numbers and text; no dates, complex numbers, records or objects."""


def read_arrays(path: Path, only: str | None = None) -> dict[str, np.ndarray]:
    """The arrays of a .npz file, by name; ``only`` reads a single one, which is missing where the file has it not.

    The checksums that such a file has of each array are compared.

    Raises:
        RunFolderError: it cannot be read, is damaged, unfolds to more than it may, or holds anything but plain arrays.

    Cost: memory of the arrays that are read.
    """
    try:
        with open_file(path) as file, open_archive(file, ARRAYS_FLOOR, ARRAYS_RATIO, ARRAYS_BYTES) as archive:
            entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
            return {name: _array(archive, entry) for name, entry in entries.items() if only in (None, name)}
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read ({cause(error)})") from error
    except Exception as error:  # numpy's reader of headers raises a dozen kinds, of Python's own parser among them
        raise RunFolderError(f"{path}: damaged, or holds more than plain arrays ({cause(error)})") from error


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    """One array, whose header says as many bytes as the archive says that there are."""
    with archive.open(entry) as file:
        shape, dtype = _header(file)
        size = prod(shape) * dtype.itemsize
        if dtype.hasobject or size > entry.file_size:
            raise ValueError(f"{entry.filename[:60]!r} is {dtype} of shape {shape} in {in_bytes(entry.file_size)}")
    with archive.open(entry) as file:
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False, max_header_size=ARRAY_HEADER)
        if file.read(1):  # to the end, where its checksum is compared
            raise ValueError(f"{entry.filename[:60]!r} is longer than its array")
        return array


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"an array of version {version}")
    shape, _, dtype = HEADERS[version](file, max_header_size=ARRAY_HEADER)
    if dtype.kind not in PLAIN:
        raise ValueError(f"an array of {str(dtype)[:60]}")
    if not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"an array has the shape {str(shape)[:60]}")
    return shape, dtype


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as a compressed .npz file, atomically; its folder is made where it is not there.

    Raises:
        ValueError: an array of Python objects, which only a pickle could hold, or of dates, complex numbers or records.
    """
    for array in arrays.values():
        if array.dtype.kind not in PLAIN:
            found = "Python objects" if array.dtype.hasobject else str(array.dtype)[:60]
            raise ValueError(f"{path.name}: expected numbers or text, got {found}")
    make_folder(path.parent)
    with replacing(path, durable=True) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
