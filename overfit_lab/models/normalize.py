"""Normalisation as part of the model, so that every attack and every probe works on images in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """(x - mean) / std for each channel; nothing at all for mean 0 and std 1.

    Args:
        mean: mean of each channel in [0, 1] pixels (C,).
        std: standard deviation of each channel (C,), each positive.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(list(mean)).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(list(std)).view(-1, 1, 1), persistent=False)
        self.is_identity = all(m == 0 for m in mean) and all(s == 1 for s in std)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (B, C, H, W)."""
        return x if self.is_identity else (x - self.mean) / self.std
