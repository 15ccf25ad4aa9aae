"""The trace from a low-rank part, exactly, and random quadratic forms of the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan

import torch
from torch import Tensor

from overfit_lab.probes.metrics.hessian.hutchinson import TOGETHER, arguments
from overfit_lab.probes.metrics.hessian.products import Product, many
from overfit_lab.probes.metrics.hessian.trace import Part, Problem, Trace, mean_and_stderr, part_of
from overfit_lab.probes.metrics.hessian.vectors import flatten, inner, sign_vectors, unflatten


def hutchpp_trace(
    product: Product,
    like: Sequence[Tensor],
    *,
    generator: torch.Generator,
    max_products: int = 30,
    min_vectors: int = 5,
    tolerance: float = 0.05,
    layers: Mapping[str, Sequence[int]] | None = None,
) -> Trace:
    """Tr H = tr(Q^T H Q) + tr(P H P), P = I - Q Q^T, with Q an orthonormal basis of H S for random signs S.

    Hutch++ (Meyer et al. 2021, arXiv 2010.09649): the first term exactly, the second as a mean over random signs g of
    (P g)^T H (P g). A third of the products goes into S, a third into Q, at most a third into g. Unbiased; better
    than Hutchinson where few eigenvalues make most of the trace. The standard error is that of the second term, over
    the random vectors g; it stops once that is below ``tolerance`` of the estimate.

    The trace of a layer's block is sum_j <q_j, H q_j> over the layer plus the mean of <g, H P g> over the layer; these
    have errors of their own, larger ones, and do not add up to ``value`` exactly. H is symmetric;
    ``max_products`` is at least 3, and at least 6 for a standard error. The rest as in
    :func:`~overfit_lab.probes.metrics.hessian.hutchinson.hutchinson_trace`.

    Cost: up to ``max_products`` products; memory of two thirds as many vectors.
    """
    size = sum(t.numel() for t in like)
    rank = max(1, min(max_products // 3, size))
    sketch = flatten(_in_groups(product, sign_vectors(like, rank, generator))).double()
    if not torch.isfinite(sketch).all():
        return Trace(nan, nan, 0, layers=dict.fromkeys(layers or {}, Part(nan, nan)))
    basis = _orthonormal(sketch)
    exact_part = torch.zeros(len(like), dtype=torch.float64)
    if len(basis):
        q = unflatten(basis, like)
        exact_part = inner(q, _in_groups(product, q)).sum(0).cpu()
    rest: list[float] = []
    forms = torch.zeros(0, len(like), dtype=torch.float64)
    most = max(max_products - 2 * rank, 1)
    while len(rest) < most and len(basis) < size:
        g = sign_vectors(like, min(TOGETHER, most - len(rest)), generator)
        flat = flatten(g).double()
        projected = unflatten(flat - (flat @ basis.T) @ basis, like)
        image = many(product, projected)
        rest += inner(projected, image).sum(1).tolist()
        forms = torch.cat([forms, inner(g, image).cpu()])
        mean, stderr = mean_and_stderr(rest)
        if len(rest) >= min_vectors and tolerance > 0 and stderr <= tolerance * abs(exact_part.sum().item() + mean):
            break
    mean, stderr = mean_and_stderr(rest) if rest else (0.0, 0.0)
    parts = {}
    for layer, members in (layers or {}).items():
        part = part_of(forms[:, list(members)].sum(1).tolist()) if rest else Part(0.0, 0.0)
        parts[layer] = Part(exact_part[list(members)].sum().item() + part.value, part.stderr)
    return Trace(
        exact_part.sum().item() + mean, stderr if len(rest) != 1 else None, rank + len(basis) + len(rest), layers=parts
    )


def _in_groups(product: Product, vectors: list[Tensor]) -> list[Tensor]:
    """Products with many vectors, a few together."""
    pieces = [many(product, list(part)) for part in zip(*(t.split(TOGETHER) for t in vectors), strict=True)]
    return [torch.cat(group) for group in zip(*pieces, strict=True)]


def _orthonormal(rows: Tensor) -> Tensor:
    """An orthonormal basis of the rows' span (rank, size)."""
    _, values, basis = torch.linalg.svd(rows, full_matrices=False)
    return basis[values > values.max() * 1e-9] if values.max() > 0 else basis[:0]


def estimate(problem: Problem) -> Trace:
    """:func:`hutchpp_trace` of a problem; ``max_vectors`` counts the products."""
    return hutchpp_trace(**arguments(problem), max_products=problem.max_vectors)


REGISTER = {"hutch++": estimate}
