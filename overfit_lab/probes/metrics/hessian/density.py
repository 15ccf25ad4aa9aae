"""The density of all eigenvalues, by stochastic Lanczos quadrature."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from overfit_lab.probes.metrics.hessian.lanczos import lanczos
from overfit_lab.probes.metrics.hessian.products import Product
from overfit_lab.probes.metrics.hessian.vectors import sign_vectors


@dataclass(frozen=True)
class Density:
    """The eigenvalues' distribution, each eigenvalue weighing 1 / size.

    Args:
        nodes: of the quadrature, (vectors, steps); NaN where an iteration ended early.
        weights: of the nodes, at least 0, (vectors, steps); each row sums to 1.
        grid: eigenvalues (points,).
        density: of the quadrature smoothed by a Gaussian, at ``grid`` (points,); its integral is 1.
        size: number of weights.
    """

    nodes: np.ndarray
    weights: np.ndarray
    grid: np.ndarray
    density: np.ndarray
    size: int

    def moment(self, power: int) -> tuple[float, float | None]:
        """tr(H^power), power below twice the steps, with its standard error over random vectors."""
        each = self.size * np.nansum(self.weights * self.nodes**power, axis=1)
        stderr = float(each.std(ddof=1) / math.sqrt(len(each))) if len(each) > 1 else None
        return float(each.mean()), stderr


def spectral_density(
    product: Product,
    like: Sequence[Tensor],
    *,
    generator: torch.Generator,
    n_vectors: int = 5,
    steps: int = 40,
    points: int = 512,
    width: float = 0.01,
) -> Density:
    """The density of H's eigenvalues by stochastic Lanczos quadrature, with full reorthogonalisation.

    For each random sign vector the Lanczos iteration gives a tridiagonal matrix whose eigenvalues are nodes and the
    squares of whose eigenvectors' first entries are weights of a Gauss quadrature of v^T f(H) v / v^T v; averaged over
    vectors it is tr f(H) / size (Golub and Welsch 1969; Ghorbani et al. 2019, arXiv 1901.10159; Yao et al. 2020). The
    moments are unbiased; the picture is smoothed, so narrow features are not resolved.
    ``width`` is the standard deviation of the smoothing, as a share of the nodes' range.

    Cost: ``n_vectors * steps`` products; memory of as many vectors.
    """
    size = sum(t.numel() for t in like)
    diagonal, off = _tridiagonal(product, like, sign_vectors(like, n_vectors, generator), min(steps, size))
    pairs = [_quadrature(a, b) for a, b in zip(diagonal, off, strict=True)]
    nodes, weights = np.stack([n for n, _ in pairs]), np.stack([w for _, w in pairs])
    grid, density = _smooth(nodes, weights, points, width)
    return Density(nodes, weights, grid, density, size)


def _tridiagonal(
    product: Product, like: Sequence[Tensor], start: list[Tensor], steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Diagonals (m, steps) and off-diagonals (m, steps - 1) of the tridiagonal matrices, all vectors together."""
    entries = list(itertools.islice(lanczos(product, like, start), steps))
    diagonal = torch.stack([a for a, _ in entries], dim=1).cpu().numpy()
    return diagonal, torch.stack([b for _, b in entries], dim=1).cpu().numpy()[:, :-1]


def _quadrature(diagonal: np.ndarray, off: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of one tridiagonal matrix, filled up where its iteration ended early."""
    nodes, weights = np.full(len(diagonal), np.nan), np.zeros(len(diagonal))
    if not (np.isfinite(diagonal).all() and np.isfinite(off).all()):
        return nodes, np.full(len(diagonal), np.nan)
    ends = np.flatnonzero(off == 0)
    k = int(ends[0]) + 1 if len(ends) else len(diagonal)
    matrix = np.diag(diagonal[:k]) + np.diag(off[: k - 1], 1) + np.diag(off[: k - 1], -1)
    nodes[:k], vectors = np.linalg.eigh(matrix)
    weights[:k] = vectors[0] ** 2
    return nodes, weights


def _smooth(nodes: np.ndarray, weights: np.ndarray, points: int, width: float) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(nodes)
    if not known.any():
        return np.full(points, np.nan), np.full(points, np.nan)
    values, share = nodes[known], weights[known] / len(nodes)
    low, high = float(values.min()), float(values.max())
    sigma = width * (max(high - low, 1e-6 * max(abs(low), abs(high))) or 1e-12)
    grid = np.linspace(low - 5 * sigma, high + 5 * sigma, points)
    bells = np.exp(-0.5 * ((grid[:, None] - values) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
    return grid, bells @ share
