"""A cache on disk of what is derived from image files: indices of shards, and copies that can be read in any order."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from overfit_lab.files.writing import make_folder, replacing

FORMAT = 1

Arrays = dict[str, np.ndarray]


def cache_folder() -> Path:
    """The cache's folder: OVERFIT_LAB_CACHE, else ~/.cache/overfit-lab/streams. It may be deleted at any time."""
    return Path(os.environ.get("OVERFIT_LAB_CACHE") or Path.home() / ".cache" / "overfit-lab" / "streams")


def key_of(kind: str, paths: Sequence[Path]) -> str:
    """Cache key of what is derived from files; it changes with a file's path, size or modification time."""
    facts: list[object] = [FORMAT, kind]
    for path in paths:
        status = path.stat()
        facts.append([str(path.resolve()), status.st_size, status.st_mtime_ns])
    return f"{kind}-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]}"


def cached_arrays(key: str, make: Callable[[], Arrays]) -> Arrays:
    """Arrays from the cache. Absent ones are made, and stored if the cache can be written to."""
    path = cache_folder() / f"{key}.npz"
    arrays = read_arrays(path)
    if arrays is None:
        arrays = make()
        with suppress(OSError):
            write_arrays(path, arrays)
    return arrays


def read_arrays(path: Path) -> Arrays | None:
    """The arrays of a file; None where there is none or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Replace a file of arrays, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    make_folder(path.parent)
    with replacing(path, durable=True, shared=True) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
