"""The Lanczos iteration, step by step, for several starting vectors together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from overfit_lab.probes.metrics.hessian.products import Product, many
from overfit_lab.probes.metrics.hessian.vectors import flatten, unflatten


def lanczos(product: Product, like: Sequence[Tensor], start: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """The next diagonal entry (m,) and the off-diagonal one below it (m,) of each tridiagonal matrix, without end.

    Every new vector is made orthogonal to all before it, twice. An off-diagonal entry of 0 says that the vectors so far
    span a space that H maps into itself; what follows in that row is 0.
    H is symmetric; ``start`` holds the m stacked starting vectors [(m, ...)] of the shapes of ``like``.

    Cost of a step: a product with each vector. Memory: all vectors so far, in the weights' own precision.
    """
    v = flatten(start).double()
    v = v / v.norm(dim=1, keepdim=True)
    basis = [v.to(like[0].dtype)]
    while True:
        w = flatten(many(product, unflatten(v, like))).double()
        diagonal = (w * v).sum(1)
        scale = w.norm(dim=1, keepdim=True)
        for _ in range(2):  # once leaves errors of rounding that grow to copies of eigenvalues; twice is enough
            for u in basis:
                w = w - (w * u).sum(1, keepdim=True) * u
        length = w.norm(dim=1, keepdim=True)
        ended = length <= 1e-6 * scale.clamp_min(1e-300)
        length = torch.where(ended, 0.0, length)
        yield diagonal, length[:, 0]
        v = torch.where(ended, 0.0, w / torch.where(ended, 1.0, length))
        basis.append(v.to(like[0].dtype))
