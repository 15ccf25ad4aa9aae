"""Random vectors with the shapes of the weights, one or several at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def random_signs(like: Tensor, generator: torch.Generator) -> Tensor:
    """Independent entries +1 or -1 of a tensor's shape, kind and device."""
    bits = torch.randint(2, like.shape, generator=generator, device=like.device)
    return (2 * bits - 1).to(like.dtype)


def sign_vectors(like: Sequence[Tensor], count: int, generator: torch.Generator) -> list[Tensor]:
    """``count`` random sign vectors, stacked, [(count, ...)]; drawn in turn, so that a larger count begins alike."""
    drawn = [[random_signs(t, generator) for t in like] for _ in range(count)]
    return [torch.stack(pieces) for pieces in zip(*drawn, strict=True)]


def inner(u: Sequence[Tensor], v: Sequence[Tensor]) -> Tensor:
    """<u_j, v_j> of each tensor apart (count, tensors) float64, for stacked vectors."""
    return torch.stack([(a.double() * b.double()).reshape(len(a), -1).sum(1) for a, b in zip(u, v, strict=True)], dim=1)


def flatten(vectors: Sequence[Tensor]) -> Tensor:
    """Stacked vectors as a matrix (count, size)."""
    return torch.cat([t.reshape(len(t), -1) for t in vectors], dim=1)


def unflatten(rows: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """A matrix (count, size) as stacked vectors of the weights' shapes and kind."""
    pieces = rows.split([t.numel() for t in like], dim=1)
    return [piece.reshape(len(rows), *t.shape).to(t) for piece, t in zip(pieces, like, strict=True)]
