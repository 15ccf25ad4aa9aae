"""The eigenvalues of largest magnitude."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from overfit_lab.errors import ProbeError
from overfit_lab.metrics.hessian.products import Product


def top_eigenvalue(
    product: Product, like: Sequence[Tensor], *, generator: torch.Generator, tolerance: float = 1e-3
) -> float:
    """The eigenvalue of H of largest magnitude; see :func:`top_eigenvalues`."""
    return top_eigenvalues(product, like, 1, generator=generator, tolerance=tolerance)[0]


def top_eigenvalues(
    product: Product, like: Sequence[Tensor], k: int, *, generator: torch.Generator, tolerance: float = 1e-3
) -> list[float]:
    """The k eigenvalues of H of largest magnitude, largest first, by Lanczos iteration (scipy's eigsh).

    NaN where H is not finite; as many as there are weights where k is more.

    Args:
        product: v to H v.
        like: tensors of the shapes of v.
        k: how many.
        generator: random stream of the starting vector.
        tolerance: relative accuracy.

    Raises:
        ProbeError: no convergence.

    Cost: about 10 to 20 products for one, some more for each other: with the exact trace, most of the probe's time.
    """
    size, first = sum(t.numel() for t in like), like[0]
    run = _on_arrays(product, like)
    start = torch.randn(size, generator=generator, device=first.device).double().cpu().numpy()
    image = run(start)
    if not np.all(np.isfinite(image)):
        return [math.nan] * min(k, size)
    if not np.any(image):
        return [0.0] * min(k, size)
    if size < max(3, k + 2):
        dense = np.stack([run(row) for row in np.eye(size)])
        return _by_magnitude(np.linalg.eigvalsh((dense + dense.T) / 2))[:k]
    return _lanczos(run, start, k, tolerance)


def _lanczos(run: Callable[[np.ndarray], np.ndarray], start: np.ndarray, k: int, tolerance: float) -> list[float]:
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    operator = LinearOperator((len(start), len(start)), matvec=run, dtype=np.float64)
    try:
        values = eigsh(operator, k=k, which="LM", v0=start, tol=tolerance, maxiter=300, return_eigenvectors=False)
    except ArpackNoConvergence as error:
        raise ProbeError("hessian: Lanczos iteration for the largest eigenvalues did not converge") from error
    return _by_magnitude(values)


def _by_magnitude(values: np.ndarray) -> list[float]:
    return [float(value) for value in values[np.argsort(-np.abs(values), kind="stable")]]


def _on_arrays(product: Product, like: Sequence[Tensor]) -> Callable[[np.ndarray], np.ndarray]:
    """The product on flat arrays."""
    sizes = [t.numel() for t in like]

    def run(flat: np.ndarray) -> np.ndarray:
        pieces = torch.as_tensor(np.ravel(flat)).to(like[0]).split(sizes)
        image = product([piece.view_as(t) for piece, t in zip(pieces, like, strict=True)])
        return np.asarray(torch.cat([h.reshape(-1) for h in image]).double().cpu().numpy())

    return run
