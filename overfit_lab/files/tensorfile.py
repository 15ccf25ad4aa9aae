"""Tensors and JSON values in one safetensors file, written without a second copy of what is written.

The library reads what is written here; its own writer holds all tensors as byte strings at once, and its reader takes
flipped bits for weights. Files of ours have checksums in the header; whoever writes another file need not.
"""

from __future__ import annotations

import json
import mmap
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from overfit_lab.errors import RunFolderError
from overfit_lab.files.reading import cause, open_file
from overfit_lab.files.sums import BlockSum
from overfit_lab.files.tensor_header import BLANK, CHECKSUM, KIND, NOTES, Header, Place, read_header
from overfit_lab.files.writing import make_folder, replacing

TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
DIFFERS = "checksum differs"
PIECE = 2**26
"""Bytes that are brought to the CPU, or made contiguous, at a time."""


KINDS = {text: dtype for dtype, text in TYPES.items()} | {
    text: getattr(torch, name)
    for text, name in (
        *(("U16", "uint16"), ("U32", "uint32"), ("U64", "uint64"), ("C64", "complex64")),
        *(("F8_E4M3", "float8_e4m3fn"), ("F8_E5M2", "float8_e5m2")),
    )
    if hasattr(torch, name)
}
"""Types that are read."""


def write_tensors(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write tensors and JSON values to a safetensors file with checksums, atomically; its folder is made if need be.

    Cost: no copy of what is on the CPU already, such as label memory in a mapped file.
    """
    make_folder(path.parent)
    with replacing(path, durable=True) as file:
        write(file, tensors, {CHECKSUM: BLANK, NOTES: json.dumps(meta)})


def read_tensors(path: Path, kind: str = "checkpoint") -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The JSON values and the tensors, on the CPU, of a file that :func:`write_tensors` wrote.

    Raises:
        RunFolderError: the file cannot be read, is damaged (its checksum differs, if it has one), or is none of ours.
    """
    try:
        header, tensors = read(path)
        return header.notes(), tensors
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read ({cause(error)})") from error
    except (RunFolderError, ValueError) as error:
        if str(error) == DIFFERS:
            raise RunFolderError(f"{path}: damaged ({DIFFERS})") from error
        raise RunFolderError(f"{path}: damaged, or not a {kind} of overfit-lab ({error})") from error


def read(path: Path) -> tuple[Header, dict[str, Tensor]]:
    """The header and the tensors, on the CPU, of any safetensors file.

    Raises:
        OSError: it cannot be read.
        ValueError: damaged, or of a type that torch does not have; a checksum that it has differs.
        RunFolderError: its header is no JSON.

    Cost: no memory but the file's pages, which the system takes back when it needs them; they are read once where the
    file has a checksum. Whoever changes a tensor changes a copy.
    """
    with open_file(path) as file:
        header, start = read_header(file), file.tell()
        for name, place in header.places.items():
            if place.dtype not in KINDS:
                raise ValueError(f"tensor {name[:60]!r} is of type {place.dtype[:20]!r}")
        content = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY), dtype=np.uint8)[start:]
    if header.checksum not in (None, _sum_of(content)):
        raise ValueError(DIFFERS)
    if start % 8:  # a writer that does not lay tensors where their elements may lie
        content = content.copy()
    return header, {name: _tensor(content, place) for name, place in header.places.items()}


def _sum_of(content: np.ndarray) -> str:
    sums = BlockSum()
    for begin in range(0, len(content), PIECE):
        sums.update(memoryview(content[begin : begin + PIECE].data))
    return f"{sums.value:08x}"


def _tensor(content: np.ndarray, place: Place) -> Tensor:
    return torch.from_numpy(content[place.start : place.end]).view(KINDS[place.dtype]).reshape(place.shape)


def write(file: BinaryIO, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors, and texts by name, to an open file.

    Args:
        file: where to, from its present position.
        tensors: on any devices and in any memory layout.
        metadata: texts by name; where :data:`~.tensor_header.CHECKSUM` is among them, the checksums take its place.

    Raises:
        ValueError: a tensor of a type that the format does not have.

    Cost: memory of 64 MB, or of the largest tensor that is not contiguous and has one row.
    """
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name in order:
        tensor = tensors[name]
        if tensor.dtype not in TYPES:
            raise ValueError(f"{name}: {tensor.dtype} cannot be written")
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    start = file.tell() + 8 if CHECKSUM in metadata else 0
    file.write(len(text).to_bytes(8, "little"))
    file.write(text)
    sums = BlockSum()
    for name in order:
        for content in _pieces(tensors[name].detach()):
            file.write(content)
            if CHECKSUM in metadata:
                sums.update(content)
    if CHECKSUM in metadata:
        file.seek(start + text.index(BLANK.encode()))
        file.write(f"{KIND}:{zlib.crc32(text):08x}:{sums.value:08x}".encode())
        file.seek(0, os.SEEK_END)


def _pieces(tensor: Tensor) -> Iterator[memoryview]:
    """The tensor's elements in order, in pieces of whole rows."""
    if tensor.numel() == 0:
        return
    rows = tensor.reshape(1) if tensor.dim() == 0 else tensor
    row_bytes = rows[0].numel() * rows.element_size()
    for part in rows.split(max(1, PIECE // row_bytes)):
        yield memoryview(part.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
