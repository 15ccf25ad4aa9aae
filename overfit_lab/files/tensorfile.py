"""Tensors and JSON values in one safetensors file, written without a second copy of what is written.

The format is that of https://github.com/huggingface/safetensors: eight bytes with the header's length, a JSON header
with each tensor's type, shape and place, and the tensors' bytes one after another. The library reads what is written
here; its own writer holds all tensors as byte strings at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from overfit_lab.errors import RunFolderError
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
PIECE = 2**26
"""Bytes that are brought to the CPU, or made contiguous, at a time."""


def write_tensors(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write tensors and JSON values to a safetensors file, atomically; its folder is made where it is not there.

    Cost: no copy of what is on the CPU already, such as label memory in a mapped file.
    """
    make_folder(path.parent)
    with replacing(path, durable=True) as file:
        write(file, tensors, {"overfit-lab": json.dumps(meta)})


def read_tensors(path: Path, kind: str = "checkpoint") -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The JSON values and the tensors, on the CPU, of a file that :func:`write_tensors` wrote.

    Raises:
        RunFolderError: the file is damaged, or none of ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {})["overfit-lab"])
            return meta, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise RunFolderError(f"{path}: damaged, or not a {kind} of overfit-lab ({error})") from error


def write(file: BinaryIO, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors, and texts by name, to an open file.

    Args:
        file: where to, from its present position.
        tensors: on any devices and in any memory layout.
        metadata: texts by name.

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
    file.write(len(text).to_bytes(8, "little"))
    file.write(text)
    for name in order:
        _write_tensor(file, tensors[name].detach())


def _write_tensor(file: BinaryIO, tensor: Tensor) -> None:
    """The tensor's elements in order, in pieces of whole rows."""
    if tensor.numel() == 0:
        return
    rows = tensor.reshape(1) if tensor.dim() == 0 else tensor
    row_bytes = rows[0].numel() * rows.element_size()
    for part in rows.split(max(1, PIECE // row_bytes)):
        content = part.cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        file.write(memoryview(content))
