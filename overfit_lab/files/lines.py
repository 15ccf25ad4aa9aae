"""A file that grows by whole lines, such as records.jsonl: what was appended is there as a whole, or not at all."""

from __future__ import annotations

import os
import zlib
from contextlib import suppress
from pathlib import Path
from typing import IO

from overfit_lab.errors import RunFolderError
from overfit_lab.files.disk import disk
from overfit_lab.files.limits import RECORD_BYTES
from overfit_lab.files.writing import naming, write_bytes

CHUNK = 2**20
"""Bytes that are read at a time."""


class GrowingLines:
    """Holds a file of lines open to append to; close it.

    Args:
        path: the file; it is made where it is not there.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = self._open()
        self._summed, self._sum = 0, 0
        self._is_whole = False  # a kill may have cut the last line off

    def _open(self) -> IO[bytes]:
        with naming(self.path):
            file: IO[bytes] = disk().open(self.path, "ab")
        return file

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self._file.seek(0, os.SEEK_END)

    def append(self, lines: bytes) -> None:
        """Write lines, and return when they are on the disk; if that fails the file is cut back to what it was.

        Raises:
            OSError: they cannot be written; it names the file.
        """
        if not self._is_whole:
            self.cut_torn_line()
            self._is_whole = True
        before = self.size
        try:
            with naming(self.path):
                self._file.write(lines)
                disk().sync(self._file)
        except OSError:
            # What the buffer still holds would be written by closing the file.
            with suppress(OSError):
                self._file.close()
            self._file = self._open()
            with suppress(OSError):
                disk().truncate(self._file, before)
            raise

    def cut_torn_line(self) -> None:
        """Drop a last line that a kill cut off, so that the next one begins a line of its own."""
        content = self.content()
        if not content.endswith(b"\n"):
            self.cut(content.rfind(b"\n") + 1)

    def content(self) -> bytes:
        """All of it. Line ends of another system, which a transfer may have made, are read as our own.

        Raises:
            OSError: it cannot be read.
            RunFolderError: it ends with, or has, more bytes without a line's end than a line may have.
        """
        parts, unended = [], 0
        with naming(self.path), disk().open(self.path, "rb") as file:
            while part := file.read(CHUNK):
                parts.append(part)
                end = part.rfind(b"\n")
                unended = len(part) - end - 1 if end >= 0 else unended + len(part)
                if unended > RECORD_BYTES:
                    raise RunFolderError(f"{self.path}: damaged, a line is longer than {RECORD_BYTES} bytes")
        return b"".join(parts).replace(b"\r\n", b"\n")

    def sum_until(self, size: int) -> int:
        """Checksum (CRC-32) of the first bytes. Cost: only what was added since the last call is read."""
        if size < self._summed:
            self._summed, self._sum = 0, 0
        if size > self._summed:
            with naming(self.path), disk().open(self.path, "rb") as file:
                file.seek(self._summed)
                self._sum = zlib.crc32(file.read(size - self._summed), self._sum)
            self._summed = size
        return self._sum

    def check_prefix(self, size: int, checksum: int | None, counted_by: str) -> None:
        """Refuse a file whose beginning is not what was noted of it; nothing is written.

        Args:
            size: length that was noted, in bytes.
            checksum: of that beginning, where one was noted.
            counted_by: what noted it, for the message.

        Raises:
            RunFolderError: it is shorter, or differs.
        """
        content = self.content()
        if len(content) < size:
            raise RunFolderError(
                f"{self.path}: {len(content)} bytes, but {counted_by} counts {size}, so records are missing; "
                "bring the whole file, or train into another folder"
            )
        start = content[:size]
        if (start and not start.endswith(b"\n")) or (checksum is not None and zlib.crc32(start) != checksum):
            raise RunFolderError(
                f"{self.path}: its first {size} bytes are not those that {counted_by} counts; "
                "bring the file as it was written, or train into another folder"
            )

    def cut(self, size: int, stay: bytes = b"") -> None:
        """Cut it to a length, but for lines behind it that stay.

        Raises:
            OSError: it cannot be written; then it is as it was.
            ValueError: it is shorter than that.
        """
        if size > len(content := self.content()):
            raise ValueError(f"{self.path}: has {len(content)} bytes, cannot be cut to {size}")
        if not stay and len(content) == self.size:
            if len(content) > size:
                with naming(self.path):
                    disk().truncate(self._file, size)
                    disk().sync(self._file)
        else:  # In one go: a kill between a cut and a second writing would lose them.
            write_bytes(self.path, content[:size] + stay)
            self._file.close()
            self._file = self._open()
        self._summed, self._sum = 0, 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()
