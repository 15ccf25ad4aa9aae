"""The eigenvalues of largest magnitude."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from overfit_lab.errors import ProbeError
from overfit_lab.probes.metrics.hessian.lanczos import lanczos
from overfit_lab.probes.metrics.hessian.products import Product, many
from overfit_lab.probes.metrics.hessian.vectors import flatten, unflatten

MOST_STEPS = 200


def top_eigenvalue(
    product: Product, like: Sequence[Tensor], *, generator: torch.Generator, tolerance: float = 1e-3
) -> float:
    """The eigenvalue of H of largest magnitude; see :func:`top_eigenvalues`."""
    return top_eigenvalues(product, like, 1, generator=generator, tolerance=tolerance)[0]


def top_eigenvalues(
    product: Product, like: Sequence[Tensor], k: int, *, generator: torch.Generator, tolerance: float = 1e-3
) -> list[float]:
    """The k eigenvalues of H of largest magnitude, largest first, by Lanczos iteration with full reorthogonalisation.

    It stops once each of the k Ritz values is within ``tolerance`` times the largest by the estimate residual^2 / gap,
    the gap being that to the next Ritz value, and its residual within sqrt(``tolerance``) times it; an eigenvalue lies
    within the residual for certain (Parlett 1998, ch. 4 and 13). One that occurs
    several times is found once, but in a matrix of a handful of rows. NaN where H is not finite; fewer than k where
    there are no more. ``tolerance`` is the relative accuracy, 0 to 1.

    Raises:
        ProbeError: no convergence in 200 steps.

    Cost: about 5 to 15 products for one, some more for each other: with the exact trace, most of the probe's time.
    """
    size = sum(t.numel() for t in like)
    k = min(k, size)
    if size < k + 3:
        return _dense(product, like, size)[:k]
    start = [torch.randn((1, *t.shape), generator=generator, device=t.device, dtype=t.dtype) for t in like]
    diagonal: list[float] = []
    off: list[float] = []
    for a, b in lanczos(product, like, start):
        diagonal.append(a.item())
        if not (math.isfinite(diagonal[-1]) and math.isfinite(b.item())):
            return [math.nan] * k
        values, residuals = _ritz(diagonal, off, b.item())
        if len(values) >= k and _near_enough(values, residuals, k, tolerance):
            return [float(value) for value in values[:k]]
        if b.item() == 0 or len(diagonal) == size:
            return [float(value) for value in values[:k]]
        if len(diagonal) == MOST_STEPS:
            break
        off.append(b.item())
    raise ProbeError(f"hessian: the largest eigenvalues did not converge in {MOST_STEPS} Lanczos steps")


def _dense(product: Product, like: Sequence[Tensor], size: int) -> list[float]:
    """All eigenvalues of a matrix of a few rows, by magnitude; NaN where it is not finite."""
    rows = unflatten(torch.eye(size, dtype=like[0].dtype, device=like[0].device), like)
    matrix = flatten(many(product, rows)).double().cpu().numpy()
    if not np.isfinite(matrix).all():
        return [math.nan] * size
    values = np.linalg.eigvalsh((matrix + matrix.T) / 2)
    return [float(value) for value in values[np.argsort(-np.abs(values), kind="stable")]]


def _near_enough(values: np.ndarray, residuals: np.ndarray, k: int, tolerance: float) -> bool:
    apart = np.abs(values[:k, None] - values[None, :])
    apart[np.arange(k), np.arange(k)] = np.inf
    gaps = np.maximum(apart.min(axis=1), np.finfo(float).tiny)
    errors, scale = np.minimum(residuals[:k], residuals[:k] ** 2 / gaps), abs(values[0])
    return bool(np.all(errors <= tolerance * scale) and np.all(residuals[:k] <= math.sqrt(tolerance) * scale))


def _ritz(diagonal: list[float], off: list[float], below: float) -> tuple[np.ndarray, np.ndarray]:
    """Ritz values of a tridiagonal matrix by magnitude, and the residual of each one's vector."""
    values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1))
    order = np.argsort(-np.abs(values), kind="stable")
    return values[order], np.abs(below * vectors[-1, order])
