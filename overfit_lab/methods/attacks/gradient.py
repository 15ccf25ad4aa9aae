"""Gradients with respect to images, also of models that let none through."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from overfit_lab.methods.threat import brought_to_one
from overfit_lab.models.holdings import bookkeeping

SMALL = 1e-10
"""Largest entry of a gradient to which a library's guard of 1e-12 against division by 0 makes a difference."""


class NotFinite:
    """Counts gradients with entries that are not finite, one for each image and step; read once, at the end."""

    def __init__(self) -> None:
        self._counts: list[Tensor] = []

    def add(self, gradient: Tensor) -> None:
        """Take in gradients (B, ...). No synchronisation with the device."""
        with bookkeeping():
            self.add_count(gradient.detach().isfinite().flatten(1).all(dim=1).logical_not().sum())

    def add_count(self, count: Tensor) -> None:
        """Take in a number of such gradients, a scalar on the device."""
        self._counts = [self._counts[0] + count] if self._counts else [count]

    def total(self, like: Tensor) -> Tensor:
        """Gradients so far, a scalar on the device of a tensor. No synchronisation with the device."""
        return self._counts[0] if self._counts else torch.zeros((), dtype=torch.int64, device=like.device)

    @property
    def count(self) -> int:
        """Gradients so far. Cost: a synchronisation with the device."""
        return int(self._counts[0]) if self._counts else 0


_counters: ContextVar[tuple[NotFinite, ...]] = ContextVar("counters of gradients", default=())


@contextmanager
def counting_not_finite(*, alone: bool = False) -> Iterator[NotFinite]:
    """Count the attacks' gradients that are not finite while inside.

    Args:
        alone: those who count outside are not told of them.
    """
    counter = NotFinite()
    token = _counters.set((counter,) if alone else (*_counters.get(), counter))
    try:
        yield counter
    finally:
        _counters.reset(token)


def add_not_finite(count: Tensor) -> None:
    """Tell everybody who counts of gradients that were counted apart, a scalar on the device."""
    for counter in _counters.get():
        counter.add_count(count)


def input_gradient(total: Tensor, x: Tensor, *, retain_graph: bool = False) -> Tensor:
    """D total / d x, shaped as ``x``; zero where the model cut the way back to the image.

    Args:
        total: a sum of losses, a scalar.
        x: images (B, ...) that it was computed from and that require a gradient.

    Cost: one backward pass to the input.
    """
    if not total.requires_grad:
        return torch.zeros_like(x)
    (gradient,) = torch.autograd.grad(total, x, allow_unused=True, materialize_grads=True, retain_graph=retain_graph)
    _count(gradient)
    return gradient


def _count(gradient: Tensor) -> None:
    for counter in _counters.get():
        counter.add(gradient)


class _Sound(torch.autograd.Function):
    """The identity; of its gradients, entries that are not finite count as 0."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, directions: bool) -> Tensor:
        ctx.directions = directions
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        _count(gradient)
        gradient = torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)
        if ctx.directions:
            largest = gradient.abs().flatten(1).amax(dim=1).view(-1, *([1] * (gradient.dim() - 1)))
            gradient = torch.where(largest < SMALL, brought_to_one(gradient), gradient)
        return gradient, None


class Sound(nn.Module):
    """A model whose gradient in the image is finite, for a library that divides by the gradient's length.

    Args:
        directions: of the gradient only the direction is used, so that a very small one may be made longer.
    """

    def __init__(self, model: nn.Module, *, directions: bool) -> None:
        super().__init__()
        self.model = model
        self.directions = directions

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K), the model's own values."""
        seen: Tensor = _Sound.apply(x, self.directions)  # type: ignore[no-untyped-call]
        return self.model(seen)  # type: ignore[no-any-return]


class Connected(nn.Module):
    """The logits of a model in float32, differentiable by the image even where the model cuts the way back.

    A model that rounds its input to integers has no path for a gradient; libraries fail on that. Here it is zero.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K) float32, the model's own values."""
        logits: Tensor = self.model(x).float()
        if x.requires_grad and torch.is_grad_enabled():
            path = (0 * x).flatten(1).sum(dim=1, keepdim=True)
            logits = logits + path
        return logits
