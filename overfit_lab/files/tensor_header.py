"""What the header of a safetensors file says, checked against the file before a tensor is read. No torch is needed.

The format is that of https://github.com/huggingface/safetensors: eight bytes with the header's length, a JSON header
with each tensor's type, shape and place, and the tensors' bytes one after another.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

from overfit_lab.errors import RunFolderError
from overfit_lab.files.json_text import parse_json
from overfit_lab.files.limits import TENSORS_HEADER, in_bytes
from overfit_lab.files.reading import cause, open_file

NOTES, CHECKSUM = "overfit-lab", "overfit-lab-checksum"
"""Texts in the header of a file of ours: notes in JSON, and checksums."""
KIND = "blocks"
BLANK = f"{KIND}:00000000:00000000"
"""Checksums before they are known: the CRC-32 of the header with this in their place, and that of the tensors' bytes as
:mod:`overfit_lab.files.sums` has it."""
TYPE_BITS = {"BOOL": 8, "C64": 64}
"""Types whose name does not say their size."""


@dataclass(frozen=True)
class Place:
    """A tensor in a file: its type as the format names it, its shape, its first byte and the one after its last."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """What a header says.

    Args:
        texts: by name.
        places: of the tensors, in the order in which they lie in the file.
        checksum: of the tensors' bytes, as hexadecimal digits; None where the file has none.
    """

    texts: dict[str, str]
    places: dict[str, Place]
    checksum: str | None

    def notes(self) -> dict[str, Any]:
        """The JSON values of a file of ours.

        Raises:
            RunFolderError: they are damaged, or there are none.
        """
        if NOTES not in self.texts:
            raise RunFolderError("it has no notes")
        content = parse_json(self.texts[NOTES], "its notes", most=TENSORS_HEADER, not_finite=float)
        if not isinstance(content, dict):
            raise RunFolderError("its notes are no JSON object")
        return content


def read_notes(path: Path, kind: str = "checkpoint") -> dict[str, Any]:
    """The JSON values of a file that :func:`overfit_lab.files.tensorfile.write_tensors` wrote; no tensor is read.

    Raises:
        RunFolderError: it cannot be read, is damaged, or none of ours.
    """
    try:
        with open_file(path) as file:
            return read_header(file).notes()
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read ({cause(error)})") from error
    except (RunFolderError, ValueError) as error:
        raise RunFolderError(f"{path}: damaged, or not a {kind} of overfit-lab ({error})") from error


def read_header(file: IO[Any]) -> Header:
    """The header of an open file; afterwards the file stands at the tensors' first byte.

    Raises:
        ValueError: it is damaged, or beyond a limit.
        RunFolderError: it is no JSON.
    """
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if length > TENSORS_HEADER:
        raise ValueError(f"its header has {in_bytes(length)}, expected {in_bytes(TENSORS_HEADER)} at most")
    if 8 + length > size:
        raise ValueError(f"it ends early, at byte {size}")
    raw = file.read(length)
    content = parse_json(raw.decode("utf-8"), "its header", most=TENSORS_HEADER)
    if not isinstance(content, dict):
        raise ValueError("its header is no JSON object")
    texts = content.pop("__metadata__", None) or {}
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise ValueError("its header holds texts that are none")
    places = dict(sorted(((name, _place(name, entry)) for name, entry in content.items()), key=lambda e: e[1].start))
    end = 0
    for name, place in places.items():
        if place.start != end:
            raise ValueError(f"tensor {name[:60]!r} begins at byte {place.start}, expected {end}")
        end = place.end
    if 8 + length + end != size:
        raise ValueError(f"it has {size} bytes, expected {8 + length + end}")
    return Header(texts, places, _checksum(raw, texts))


def _place(name: str, entry: Any) -> Place:
    try:
        dtype, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        bits = TYPE_BITS.get(dtype) or int("".join(c for c in dtype.partition("_")[0] if c.isdigit()))
        whole = all(type(n) is int and n >= 0 for n in (*shape, start, end))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"the entry of tensor {name[:60]!r} is damaged") from error
    if not whole or prod(shape) * bits != 8 * (end - start):
        raise ValueError(f"tensor {name[:60]!r} is {dtype} of shape {shape}, in bytes {start} to {end}")
    return Place(dtype, shape, start, end)


def _checksum(raw: bytes, texts: dict[str, str]) -> str | None:
    """The checksum of the tensors, after that of the header was compared; None where the file has none."""
    if CHECKSUM not in texts:
        return None
    kind, *sums = texts[CHECKSUM].split(":")
    if kind != KIND or len(sums) != 2:
        raise ValueError(f"its checksum is of an unknown kind, {texts[CHECKSUM][:40]!r}")
    of_header = zlib.crc32(raw.replace(texts[CHECKSUM].encode(), BLANK.encode(), 1))
    if sums[0] != f"{of_header:08x}":
        raise ValueError("the checksum of its header differs")
    return sums[1]
