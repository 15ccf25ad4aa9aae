"""Zip archives, whose directory is read within limits and says no more than the archive may unfold to."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from overfit_lab.files.limits import ARCHIVE_DIRECTORY, in_bytes


class _Bounded(io.RawIOBase):
    """A file of which no more than so many bytes are read at a time, as long as a directory is looked for in it."""

    def __init__(self, file: IO[Any], most: int) -> None:
        self.file, self.most = file, most

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        if size > self.most:
            raise zipfile.BadZipFile(f"its directory has {in_bytes(size)}, expected {in_bytes(self.most)} at most")
        content: bytes = self.file.read(size)
        return content

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        return int(self.file.seek(place, whence))

    def tell(self) -> int:
        """The present place."""
        return int(self.file.tell())

    def seekable(self) -> bool:
        """It is."""
        return True


@contextmanager
def open_archive(file: IO[Any], floor: int, ratio: int, most: int) -> Iterator[zipfile.ZipFile]:
    """The zip archive that an open file is. Whoever reads an entry gets no more than the directory says.

    Args:
        file: open for reading bytes.
        floor: bytes that its entries may unfold to together, however small it is.
        ratio: how many times its own size they may unfold to, where that is more.
        most: what they may unfold to at most, however large it is.

    Raises:
        zipfile.BadZipFile: it is none, is damaged, or would unfold to more.
    """
    size = os.fstat(file.fileno()).st_size
    bounded = _Bounded(file, ARCHIVE_DIRECTORY)
    with zipfile.ZipFile(bounded) as archive:  # type: ignore[call-overload]
        bounded.most = size
        total, may = sum(entry.file_size for entry in archive.infolist()), min(max(floor, ratio * size), most)
        if total > may:
            raise zipfile.BadZipFile(f"would unfold from {in_bytes(size)} to {in_bytes(total)}, over {in_bytes(may)}")
        yield archive
