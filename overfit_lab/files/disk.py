"""The operations on files that records, weights and results pass through, so that a test can make any of them fail.

Everything that changes a file of a run, or reads one, asks :func:`disk` for it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import IO, Any


class Disk:
    """The disk as it is."""

    def open(self, path: Path, mode: str) -> Any:
        """An open file (BinaryIO), in a binary mode."""
        return open(path, mode)

    def read(self, path: Path) -> bytes:
        """The whole content of a file."""
        return path.read_bytes()

    def sync(self, file: IO[Any]) -> None:
        """Return when what was written to a file is on the disk."""
        file.flush()
        os.fsync(file.fileno())

    def truncate(self, file: IO[Any], size: int) -> None:
        """Cut a file short."""
        file.truncate(size)

    def replace(self, source: Path, target: Path) -> None:
        """Give a file or a folder another name, in place of what had it."""
        os.replace(source, target)

    def unlink(self, path: Path) -> None:
        """Remove a file, if it is there."""
        path.unlink(missing_ok=True)

    def make_folder(self, path: Path) -> None:
        """Make a folder and those above it, where they are not there."""
        path.mkdir(parents=True, exist_ok=True)

    def remove_folder(self, path: Path) -> None:
        """Remove a folder with what is in it, as far as that goes."""
        shutil.rmtree(path, ignore_errors=True)

    def sync_folder(self, path: Path) -> None:
        """Return when the names in a folder are on the disk."""
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


_disk = Disk()


def disk() -> Disk:
    """What operations on files pass through now."""
    return _disk


def replace_disk(other: Disk) -> Disk:
    """Have operations pass through another one from now on; the one before."""
    global _disk
    before, _disk = _disk, other
    return before
