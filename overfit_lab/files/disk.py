"""The operations on files that records, weights and results pass through, so that a test can make any of them fail.

Everything that changes a file of a run, or reads one, asks :func:`disk` for it.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from typing import IO, Any


class Disk:
    """The disk as it is."""

    def open(self, path: Path, mode: str) -> Any:
        """An open file (BinaryIO), in a binary mode.

        Raises:
            OSError: among others, that it is a folder, a named pipe, a socket or a device, of which none is waited for.
        """
        return open(path, mode, opener=open_plain)

    def read(self, path: Path) -> bytes:
        """The whole content of a file."""
        with self.open(path, "rb") as file:
            content: bytes = file.read()
        return content

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


def open_plain(path: str, flags: int) -> int:
    """Open a plain file; anything else could wait for ever, never end, or do something on being opened."""
    with suppress(FileNotFoundError):
        _check_plain(os.stat(path).st_mode, path)
    handle = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    try:
        _check_plain(os.fstat(handle).st_mode, path)
    except OSError:
        os.close(handle)
        raise
    return handle


KINDS = ((stat.S_ISDIR, "folder"), (stat.S_ISFIFO, "named pipe"), (stat.S_ISSOCK, "socket"))


def _check_plain(mode: int, path: str) -> None:
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in KINDS if is_kind(mode)), "device")
        raise OSError(errno.EINVAL, f"is a {kind}, expected a file", path)


_disk = Disk()


def disk() -> Disk:
    """What operations on files pass through now."""
    return _disk


def replace_disk(other: Disk) -> Disk:
    """Have operations pass through another one from now on; the one before."""
    global _disk
    before, _disk = _disk, other
    return before
