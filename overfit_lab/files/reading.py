"""Reading a file that somebody else may have made: a plain file, no larger than it may be, or an error with the cause.

Errors are those of the operating system (OSError), whose ``strerror`` says in words what is wrong; :func:`cause` gives
it for a message.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from overfit_lab.files.disk import disk
from overfit_lab.files.limits import in_bytes


def cause(error: BaseException) -> str:
    """Why a file cannot be read, in a few words."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]


def open_file(path: Path, most: int | None = None) -> Any:
    """A file (BinaryIO) open for reading bytes.

    Args:
        path: of the file.
        most: bytes that it may have; None: any number.

    Raises:
        OSError: it cannot be read, is no plain file, or is larger.
    """
    file = disk().open(path, "rb")
    if most is not None and (size := os.fstat(file.fileno()).st_size) > most:
        file.close()
        raise OSError(errno.EFBIG, f"has {in_bytes(size)}, expected {in_bytes(most)} at most", str(path))
    return file


def read_bytes(path: Path, most: int) -> bytes:
    """The content of a file of at most ``most`` bytes.

    Raises:
        OSError: it cannot be read, is no plain file, or is larger.
    """
    with open_file(path, most) as file:
        content: bytes = file.read(most + 1)
    if len(content) > most:  # it has grown meanwhile, or is one that says no size
        raise OSError(errno.EFBIG, f"has more than {in_bytes(most)}", str(path))
    return content


def read_text(path: Path, most: int) -> str:
    """The text of a file of at most ``most`` bytes in UTF-8, with or without a byte order mark.

    Raises:
        OSError: it cannot be read, is no plain file, is larger, or no text in UTF-8.
    """
    return as_text(read_bytes(path, most), path)


def as_text(content: bytes, path: Path) -> str:
    """Bytes of a file as text in UTF-8, without a byte order mark.

    Raises:
        OSError: they are none.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise OSError(errno.EILSEQ, f"is not UTF-8 text (line {line})", str(path)) from error
