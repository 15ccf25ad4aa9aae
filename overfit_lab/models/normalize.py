"""Normalisation as part of the model, so that every attack and every probe works on images in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

IN_FRONT = "input_normalize"
"""Name of the normalisation that is put in front of a network that has none of its own."""


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
        self.chosen = False
        """The user named the constants, so that those of a weights file are passed over."""

    @torch.no_grad()
    def set(self, mean: Tensor, std: Tensor) -> None:
        """Take other constants, each of as many numbers as there are channels, or of one number for all."""
        self.mean.copy_(mean.view(-1, 1, 1))
        self.std.copy_(std.view(-1, 1, 1))
        self.is_identity = bool((self.mean == 0).all() and (self.std == 1).all())

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (B, C, H, W)."""
        return x if self.is_identity else (x - self.mean) / self.std


def put_in_front(model: nn.Module, normalize: Normalize) -> nn.Module:
    """The same module, whose input is normalised first; the names of its parameters and layers stay as they are.

    A pre-hook is used rather than a wrapper, so weights files, ``penultimate`` and attributes know nothing of it.
    """
    model.add_module(IN_FRONT, normalize)
    model.register_forward_pre_hook(_normalize_first)
    return model


def _normalize_first(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    first, *rest = inputs
    return (module.get_submodule(IN_FRONT)(first), *rest)


def find_normalize(model: nn.Module) -> Normalize | None:
    """The model's one normalisation; None where there is none or more than one."""
    found = [module for module in model.modules() if isinstance(module, Normalize)]
    return found[0] if len(found) == 1 else None
