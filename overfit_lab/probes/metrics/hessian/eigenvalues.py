"""The eigenvalues of largest magnitude."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from overfit_lab.errors import ProbeError
from overfit_lab.probes.metrics.hessian.lanczos import lanczos
from overfit_lab.probes.metrics.hessian.products import Product, many
from overfit_lab.probes.metrics.hessian.vectors import flatten, unflatten

MOST_STEPS = 200
MISSED = 0.01
"""Largest probability, over the random start, that a larger eigenvalue than the tolerance allows stays unseen."""


class Eigenvalue(NamedTuple):
    """A Ritz value, and the norm of its residual: an eigenvalue lies within it, which need not be the largest."""

    value: float
    residual: float


def top_eigenvalue(
    product: Product, like: Sequence[Tensor], *, generator: torch.Generator, tolerance: float = 1e-3
) -> float:
    """The eigenvalue of H of largest magnitude; see :func:`top_eigenvalues`."""
    return top_eigenvalues(product, like, 1, generator=generator, tolerance=tolerance)[0].value


def top_eigenvalues(
    product: Product, like: Sequence[Tensor], k: int, *, generator: torch.Generator, tolerance: float = 1e-3
) -> list[Eigenvalue]:
    r"""The k eigenvalues of H of largest magnitude, largest first, by Lanczos iteration with full reorthogonalisation.

    For certain, the j-th value is at most the j-th largest magnitude, and an eigenvalue lies within its residual
    (Parlett 1998, ch. 4 and 10). That none is larger is certain of no iteration from one vector, since the start may
    have next to no part along the eigenvector. But how small that part c must be for an eigenvalue to stay unseen at
    lambda is known: |c| <= prod beta_i / prod |lambda - theta_i|, over the off-diagonal entries and all Ritz
    values. It stops once, for every lambda whose magnitude exceeds the k-th value by ``tolerance`` (0 to 1) times the
    largest, and which is no closer to one of the k, the probability of so small a part is at most :data:`MISSED` (van
    Dorsselaer, Hochstenbach and van der Vorst 2000). So with k = 1 the value is within the relative accuracy
    ``tolerance`` for 99 of 100 random starts or more, whatever the spectrum; further values are so, if no two
    eigenvalues are closer than twice that. An eigenvalue that occurs several times is found once, but in a matrix of a
    handful of rows. NaN where H is not finite; fewer than k where there are no more.

    Raises:
        ProbeError: no convergence in 200 steps.

    Cost: about 6 to 12 products for one at a tolerance of 1%, up to 30 where many eigenvalues are close, some more for
    each other: with the exact trace, most of the probe's time. Memory: the weights once a product.
    """
    size = sum(t.numel() for t in like)
    k = min(k, size)
    if size < k + 3:
        return [Eigenvalue(value, 0 * value) for value in _dense(product, like, size)[:k]]
    start = [torch.randn((1, *t.shape), generator=generator, device=t.device, dtype=t.dtype) for t in like]
    diagonal: list[float] = []
    off: list[float] = []
    for a, b in lanczos(product, like, start):
        diagonal.append(a.item())
        if not (math.isfinite(diagonal[-1]) and math.isfinite(b.item())):
            return [Eigenvalue(math.nan, math.nan)] * k
        values, residuals = _ritz(diagonal, off, b.item())
        off.append(b.item())
        ended = off[-1] == 0 or len(diagonal) == size
        if ended or (len(values) >= k and _none_unseen(values, off, k, tolerance, size)):
            return [Eigenvalue(float(v), float(r)) for v, r in zip(values[:k], residuals[:k], strict=True)]
        if len(diagonal) == MOST_STEPS:
            break
    raise ProbeError(f"hessian: the largest eigenvalues did not converge in {MOST_STEPS} Lanczos steps")


def _dense(product: Product, like: Sequence[Tensor], size: int) -> list[float]:
    """All eigenvalues of a matrix of a few rows, by magnitude; NaN where it is not finite."""
    rows = unflatten(torch.eye(size, dtype=like[0].dtype, device=like[0].device), like)
    matrix = flatten(many(product, rows)).double().cpu().numpy()
    if not np.isfinite(matrix).all():
        return [math.nan] * size
    values = np.linalg.eigvalsh((matrix + matrix.T) / 2)
    return [float(value) for value in values[np.argsort(-np.abs(values), kind="stable")]]


def _none_unseen(values: np.ndarray, off: list[float], k: int, tolerance: float, size: int) -> bool:
    r"""Whether an eigenvalue beyond the first k Ritz values stays unseen with a probability of :data:`MISSED` at most.

    The logarithm of prod |lambda - theta_i| is concave between Ritz values, and none lies in an interval that is
    looked at, so the ends of the intervals are enough. The part of a random unit vector along a given one is at most c
    with probability c sqrt(2 size / pi) or less.
    """
    room = tolerance * abs(values[0])
    least = abs(values[k - 1]) + room
    ends = np.concatenate([values[:k] - room, values[:k] + room, [least, -least]])
    apart = np.abs(ends[:, None] - values[:k]).min(axis=1)
    ends = ends[(np.abs(ends) >= least * (1 - 1e-9)) & (apart >= room * (1 - 1e-9))]
    smallest = np.log(np.abs(ends[:, None] - values)).sum(axis=1).min()
    return bool(np.log(off).sum() - smallest <= math.log(MISSED * math.sqrt(math.pi / (2 * size))))


def _ritz(diagonal: list[float], off: list[float], below: float) -> tuple[np.ndarray, np.ndarray]:
    """Ritz values of a tridiagonal matrix by magnitude, and the residual of each one's vector."""
    values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1))
    order = np.argsort(-np.abs(values), kind="stable")
    return values[order], np.abs(below * vectors[-1, order])
