"""Files of columns: plain numbers of N rows, a block of them an epoch. They grow by whole blocks and are memory-mapped.

A file begins with 4,096 bytes that say its rows, its columns and notes, with a checksum. Each block is an epoch's
number and a checksum, then one column after the other, each padded to 8 bytes; the blocks are of one length, so that a
column over all epochs is a strided view of the file. A last block that a kill or a power cut left in pieces is passed
over by readers, and cut off before the next one is written.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from overfit_lab.errors import RunFolderError
from overfit_lab.files.disk import disk
from overfit_lab.files.json_text import parse_line
from overfit_lab.files.limits import COLUMNS_BYTES, COLUMNS_ROWS, COLUMNS_WIDTH, in_bytes
from overfit_lab.files.reading import cause, open_file
from overfit_lab.files.writing import make_folder, naming, replacing

Buffer = bytes | memoryview
MAGIC = b"overfit-lab columns 1\n"
HEADER = 4096
PIECE = 2**20
"""Bytes that are read at a time."""
MARK = 16
"""Bytes before the columns of a block: epoch, checksum, and nothing."""
DTYPES = ("<f2", "<f4", "|u1", "<u2", "<i4")
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        name: small letters, digits and ``_``.
        dtype: of :data:`DTYPES`.
        width: numbers in each row.
    """

    name: str
    dtype: str
    width: int = 1

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and NAME.fullmatch(self.name)):
            raise ValueError(f"column {str(self.name)[:60]!r}: expected small letters, digits and '_'")
        if self.dtype not in DTYPES:
            raise ValueError(f"column {self.name}: of {str(self.dtype)[:60]!r}, expected one of {', '.join(DTYPES)}")
        if type(self.width) is not int or not 1 <= self.width <= COLUMNS_WIDTH:
            raise ValueError(f"column {self.name}: width {str(self.width)[:60]}, expected 1 to {COLUMNS_WIDTH}")

    def size(self, n_rows: int) -> int:
        """Bytes of it in a block, padded to 8."""
        return -(-n_rows * self.width * np.dtype(self.dtype).itemsize // 8) * 8


@dataclass(frozen=True)
class Form:
    """What the head of a file says.

    Args:
        n_rows: N.
        notes: JSON values of the writer's.
    """

    n_rows: int
    columns: tuple[Column, ...]
    notes: Mapping[str, Any]

    def __post_init__(self) -> None:
        if type(self.n_rows) is not int or not 1 <= self.n_rows <= COLUMNS_ROWS:
            raise ValueError(f"{str(self.n_rows)[:60]} rows, expected 1 to {COLUMNS_ROWS}")
        if not self.columns or len({column.name for column in self.columns}) < len(self.columns):
            raise ValueError("expected columns of different names")

    @property
    def block(self) -> int:
        """Bytes of a block."""
        return MARK + sum(column.size(self.n_rows) for column in self.columns)

    def head(self) -> bytes:
        """The beginning of the file."""
        said = {
            "rows": self.n_rows,
            "columns": [[column.name, column.dtype, column.width] for column in self.columns],
            "notes": dict(self.notes),
        }
        text = MAGIC + json.dumps(said).encode()
        if len(text) > HEADER - 4:
            raise ValueError(f"columns and notes take {len(text)} bytes, expected {HEADER - 4} at most")
        head = text.ljust(HEADER - 4)
        return head + zlib.crc32(head).to_bytes(4, "little")

    @classmethod
    def of_head(cls, head: bytes) -> Form:
        """What a beginning says.

        Raises:
            ValueError: it is none, or damaged.
        """
        text, checksum = head[:-4], head[-4:]
        if len(head) < HEADER or not head.startswith(MAGIC) or zlib.crc32(text).to_bytes(4, "little") != checksum:
            raise ValueError("its first bytes are not those of a file of columns")
        said = parse_line(text[len(MAGIC) :].decode())
        if not isinstance(said.get("notes"), dict):
            raise ValueError("its first bytes say no columns")
        return cls(said["rows"], tuple(Column(*column) for column in said["columns"]), said["notes"])

    def content(self, epoch: int, arrays: Mapping[str, np.ndarray]) -> Iterator[Buffer]:
        """A block, in pieces. Arrays are looked up twice, one at a time, so that they may be made when they are.

        Raises:
            ValueError: an array is missing, too many, or of another type or shape.
        """
        if arrays.keys() != {column.name for column in self.columns}:
            names = ", ".join(column.name for column in self.columns)
            raise ValueError(f"arrays {', '.join(arrays)}: expected {names}")
        mark = _number(epoch) + _checksum(epoch, self._bytes(arrays)) + bytes(MARK - 8)
        return chain([mark], self._bytes(arrays))

    def _bytes(self, arrays: Mapping[str, np.ndarray]) -> Iterator[Buffer]:
        for column in self.columns:
            array = np.ascontiguousarray(arrays[column.name])
            shape = (self.n_rows, column.width) if column.width > 1 else (self.n_rows,)
            if array.shape != shape or array.dtype != np.dtype(column.dtype):
                raise ValueError(f"{column.name}: {array.dtype} {array.shape}, expected {column.dtype} {shape}")
            yield array.reshape(-1).view(np.uint8).data
            yield bytes(column.size(self.n_rows) - array.nbytes)


def _number(epoch: int) -> bytes:
    return epoch.to_bytes(4, "little")


def _checksum(epoch: int, columns: Iterable[Buffer]) -> bytes:
    total = zlib.crc32(_number(epoch))
    for part in columns:
        total = zlib.crc32(part, total)
    return total.to_bytes(4, "little")


def _parts(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The next bytes of a file, a piece at a time."""
    while size > 0 and (part := file.read(min(size, PIECE))):
        yield part
        size -= len(part)


@dataclass(frozen=True)
class Columns:
    """The columns of a file.

    Args:
        epochs: T numbers, in ascending order.
        arrays: by name (T, N), or (T, N, width) of a wide column; read-only, memory-mapped.
    """

    form: Form
    epochs: tuple[int, ...]
    arrays: dict[str, np.ndarray]


def read_columns(path: Path) -> Columns:
    """The columns of a file; a last block in pieces is passed over.

    Raises:
        RunFolderError: it cannot be read, is no file of columns, or is damaged.

    Cost: the file is read once for its checksums, in pieces of a megabyte.
    """
    try:
        with open_file(path, COLUMNS_BYTES) as file:
            form, epochs = _blocks(file)
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read ({cause(error)})") from error
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise RunFolderError(f"{path}: damaged, or no file of columns ({cause(error)})") from error
    return Columns(form, tuple(epochs), _views(mapped, form, len(epochs)))


def _views(mapped: mmap.mmap, form: Form, n_blocks: int) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    offset = HEADER + MARK
    for column in form.columns:
        dtype = np.dtype(column.dtype)
        shape, strides = [n_blocks, form.n_rows], [form.block, column.width * dtype.itemsize]
        if column.width > 1:
            shape, strides = [*shape, column.width], [*strides, dtype.itemsize]
        if n_blocks:
            arrays[column.name] = np.ndarray(shape, dtype, mapped, offset, strides)
        else:  # no rows are made up for a file that has none
            arrays[column.name] = np.ndarray((0, *shape[1:]), dtype)
        offset += column.size(form.n_rows)
    return arrays


def _blocks(file: BinaryIO) -> tuple[Form, list[int]]:
    """What the head says, and the epochs of the blocks that are whole.

    Raises:
        ValueError: damaged.
    """
    form = Form.of_head(file.read(HEADER))
    size = os.fstat(file.fileno()).st_size - HEADER
    n_blocks = size // form.block
    epochs: list[int] = []
    for i in range(n_blocks):
        mark = file.read(MARK)
        epoch = int.from_bytes(mark[:4], "little")
        checksum = _checksum(epoch, _parts(file, form.block - MARK))
        if mark[4:] != checksum + bytes(MARK - 8) or (epochs and epoch <= epochs[-1]):
            if i == n_blocks - 1 and size % form.block == 0:
                break  # a power cut may leave the length without the content
            raise ValueError(f"the checksum of block {i + 1} of {n_blocks} does not match, in {in_bytes(size)}")
        epochs.append(epoch)
    return form, epochs


class GrowingColumns:
    """A file of columns to append to. Nothing is held open between calls; one process at a time may write.

    Args:
        path: the file; it is made with the first block.
        form: its rows, columns and notes.
    """

    def __init__(self, path: Path, form: Form) -> None:
        self.path = path
        self.form = form
        self._end: int | None = None

    def append(self, epoch: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Write the block of an epoch, and return when it is on the disk; if that fails the file is as it was.

        Raises:
            ValueError: the arrays do not fit, or the epoch is not later than those that are there.
            RunFolderError: the file that is there is damaged, or has other columns.
            OSError: it cannot be written; it names the file.
        """
        block = self.form.content(epoch, arrays)
        if self._end is None:
            self._end = self._found(epoch)
        if self._end == 0:
            _write(self.path, chain([self.form.head()], block))
        else:
            self._add(block, self._end)
        self._end = max(self._end, HEADER) + self.form.block

    def _found(self, epoch: int) -> int:
        """Where the next block begins in the file that is there; 0 where there is none."""
        if not self.path.is_file():
            return 0
        there = read_columns(self.path)
        if (there.form.n_rows, there.form.columns) != (self.form.n_rows, self.form.columns):
            raise RunFolderError(f"{self.path}: has other rows or columns; remove it, or train into another folder")
        if there.epochs and epoch <= there.epochs[-1]:
            raise ValueError(f"{self.path}: epoch {epoch} comes after epoch {there.epochs[-1]}")
        return HEADER + len(there.epochs) * self.form.block

    def _add(self, block: Iterator[Buffer], end: int) -> None:
        with naming(self.path):
            file = disk().open(self.path, "ab")
            try:
                with file:
                    if os.fstat(file.fileno()).st_size > end:
                        disk().truncate(file, end)
                    for part in block:
                        file.write(part)
                    disk().sync(file)
            except OSError:
                self._end = None
                with suppress(OSError), disk().open(self.path, "ab") as again:
                    disk().truncate(again, end)
                raise


def write_columns(path: Path, form: Form, epoch: int, arrays: Mapping[str, np.ndarray]) -> None:
    """Replace a file of columns by one with a single block, atomically; its folder is made where it is not there.

    It does not wait for the disk: a power cut may leave it in pieces, which its checksum says.

    Raises:
        ValueError: the arrays do not fit.
        OSError: it cannot be written.
    """
    _write(path, chain([form.head()], form.content(epoch, arrays)), durable=False)


def _write(path: Path, parts: Iterable[Buffer], *, durable: bool = True) -> None:
    make_folder(path.parent)
    with replacing(path, durable=durable) as file:
        for part in parts:
            file.write(part)


def cut_columns(path: Path, epoch: int) -> None:
    """Drop the blocks of later epochs; a file of which nothing is left goes, as one does that is damaged throughout.

    Whoever has the file mapped keeps what was there.

    Raises:
        RunFolderError: damaged.
        OSError: it cannot be written.
    """
    there = read_columns(path)
    n_kept = sum(e <= epoch for e in there.epochs)
    if n_kept == 0:
        disk().unlink(path)
    elif n_kept < len(there.epochs):
        size = HEADER + n_kept * there.form.block
        with open_file(path, COLUMNS_BYTES) as file:
            _write(path, _parts(file, size))
