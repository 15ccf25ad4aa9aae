"""Normalisation as part of the model, so that every attack and every probe works on images in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from overfit_lab.models.constants import check_constants


class Normalize(nn.Module):
    """(x - mean) / std for each channel; nothing at all for mean 0 and std 1.

    Args:
        mean: mean of each channel in [0, 1] pixels (C,).
        std: standard deviation of each channel (C,), each positive.

    Raises:
        ConfigError: constants of other units; see :func:`~overfit_lab.models.constants.check_constants`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        check_constants(mean, std)
        self.register_buffer("mean", torch.tensor(list(mean)).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(list(std)).view(-1, 1, 1), persistent=False)
        self.is_identity = all(m == 0 for m in mean) and all(s == 1 for s in std)
        self.chosen = False
        """The user named the constants, so that those of a weights file are passed over."""

    @torch.no_grad()
    def set(self, mean: Tensor, std: Tensor) -> None:
        """Set other constants, one number a channel or one for all."""
        self.mean.copy_(mean.view(-1, 1, 1))
        self.std.copy_(std.view(-1, 1, 1))
        self.is_identity = bool((self.mean == 0).all() and (self.std == 1).all())

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (B, C, H, W)."""
        return x if self.is_identity else (x - self.mean) / self.std


class InFront:
    """A forward pre-hook that puts a module before a network: its normalisation, where it has none of its own.

    A hook rather than a wrapper or a child, so that names of parameters, layers, attributes and the order of a
    Sequential stay as they are. A deep copy of the network has a copy of its own.
    """

    is_pure = True
    """The hook computes what its module does and nothing else, so a folded network may replace it by the module."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """The inputs, the first of them as the module makes it."""
        x, *rest = inputs
        constant = next(self.module.buffers(), None)
        if constant is not None and constant.device != x.device:
            self.module.to(x.device)
        return (self.module(x), *rest)


def put_in_front(model: nn.Module, normalize: Normalize) -> nn.Module:
    """The same module, whose input is normalised first."""
    model.register_forward_pre_hook(InFront(normalize))
    return model


def find_normalize(model: nn.Module) -> Normalize | None:
    """The model's only normalisation; None if it has none or several."""
    normalizations = [module for module in model.modules() if isinstance(module, Normalize)]
    in_front = [hook.module for hook in model._forward_pre_hooks.values() if isinstance(hook, InFront)]
    normalizations += [module for module in in_front if isinstance(module, Normalize)]
    return normalizations[0] if len(normalizations) == 1 else None
