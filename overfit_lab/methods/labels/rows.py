"""Label memory: one row for each training sample, on the device or in a memory-mapped file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from overfit_lab.errors import ConfigError

PIECE = 2**22
"""Bytes of rows that a file is filled with at a time; making them takes a few times that."""

Initial = Callable[[slice], Tensor]
"""From a slice of the samples to their first rows (b, K) float32."""


class Rows:
    """Rows (N, K) float32 that are read and written by the samples' positions.

    Args:
        tensor: the memory itself (N, K), on the device or mapped from a file.
        device: of the rows that are read.
        mapped: whether the memory is a file.
    """

    def __init__(self, tensor: Tensor, device: torch.device, *, mapped: bool = False) -> None:
        self.tensor = tensor
        self.device = device
        self.mapped = mapped

    def __getitem__(self, index: Tensor) -> Tensor:
        """The rows of samples (B,), a copy (B, K) on the device. Cost: one transfer where the memory is mapped."""
        return self.tensor[index.to(self.tensor.device)].to(self.device)

    def __setitem__(self, index: Tensor, rows: Tensor) -> None:
        self.tensor[index.to(self.tensor.device)] = rows.to(self.tensor.device)


def on_device(n: int, n_columns: int, initial: Initial, device: torch.device) -> Rows:
    """Rows in the device's memory."""
    return Rows(initial(slice(0, n)).to(device), device)


def on_disk(n: int, n_columns: int, initial: Initial, device: torch.device) -> Rows:
    """Rows in a nameless file in the folder for temporary files (TMPDIR), which ends with the process.

    The room is taken at once, so that a full disk is found now and not in the middle of training.

    Raises:
        ConfigError: there is no room for it.

    Cost: the rows are written once; memory of some 20 MB while that is done.
    """
    row_bytes = 4 * n_columns
    piece = max(1, PIECE // row_bytes)
    try:
        with tempfile.TemporaryFile(prefix="overfit-lab-rows-") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, n * row_bytes)
            for start in range(0, n, piece):
                rows = initial(slice(start, min(start + piece, n))).cpu().contiguous().numpy()
                file.write(rows.data)
            file.flush()
            # The mapping keeps the nameless file alive after it is closed here.
            mapped = np.memmap(file, dtype=np.float32, mode="r+", shape=(n, n_columns))
    except OSError as error:
        raise ConfigError(
            f"compute.label_memory: no {n * row_bytes / 1e9:.2f} GB in {tempfile.gettempdir()} ({error.strerror}); "
            "point TMPDIR at a folder on a disk with room for it"
        ) from error
    return Rows(torch.from_numpy(mapped), device, mapped=True)
