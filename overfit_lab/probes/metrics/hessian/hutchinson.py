"""The trace from random quadratic forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from overfit_lab.probes.metrics.hessian.products import Product, hessian_product, many, trainable
from overfit_lab.probes.metrics.hessian.trace import Problem, Trace, mean_and_stderr, part_of
from overfit_lab.probes.metrics.hessian.vectors import inner, sign_vectors
from overfit_lab.probes.metrics.layers import group_by_layer, trainable_by_name

TOGETHER = 5
"""Vectors that share a forward and a first backward pass; more save little and hold more memory."""


def hutchinson_trace(
    product: Product,
    like: Sequence[Tensor],
    *,
    generator: torch.Generator,
    max_vectors: int = 30,
    min_vectors: int = 5,
    tolerance: float = 0.05,
    layers: Mapping[str, Sequence[int]] | None = None,
) -> Trace:
    """Tr H as the mean of v^T H v over random signs v (Hutchinson 1990); unbiased, for any network.

    Vectors are drawn a few at a time. It stops once the standard error is below ``tolerance`` of the estimate, which
    makes the stated error slightly too small; with ``tolerance=0`` it draws all. The error is over random vectors, at
    the given samples. The trace of a layer's block is the mean of v_l^T (H v)_l; ``layers`` gives
    the positions of its tensors in ``like``, tensors of the shapes of v.

    Cost: one product a vector.
    """
    forms = torch.zeros(0, len(like), dtype=torch.float64)
    least = max(min_vectors, 2)
    while len(forms) < max_vectors:
        vectors = sign_vectors(like, min(TOGETHER, max_vectors - len(forms)), generator)
        forms = torch.cat([forms, inner(vectors, many(product, vectors)).cpu()])
        mean, stderr = mean_and_stderr(forms.sum(1).tolist())
        if not torch.isfinite(forms).all() or (
            len(forms) >= least and tolerance > 0 and stderr <= tolerance * abs(mean)
        ):
            break
    mean, stderr = mean_and_stderr(forms.sum(1).tolist())
    parts = {layer: part_of(forms[:, list(members)].sum(1).tolist()) for layer, members in (layers or {}).items()}
    return Trace(mean, stderr if len(forms) > 1 else None, len(forms), layers=parts)


def positions(problem: Problem) -> dict[str, list[int]]:
    """Layer to the positions of its tensors among the trainable ones."""
    names = list(trainable_by_name(problem.model))
    groups = group_by_layer(names, problem.layer_depth)
    return {layer: [names.index(name) for name in members] for layer, members in groups.items()}


def arguments(problem: Problem) -> dict[str, Any]:
    """What the estimators by random forms take of a problem, beside the number of vectors."""
    product = hessian_product(problem.model, problem.x, problem.y, problem.chunk)
    asked = {"generator": problem.generator, "tolerance": problem.tolerance, "layers": positions(problem)}
    return {"product": product, "like": trainable(problem.model), **asked}


def estimate(problem: Problem) -> Trace:
    """:func:`hutchinson_trace` of a problem."""
    return hutchinson_trace(**arguments(problem), max_vectors=problem.max_vectors)


REGISTER = {"hutchinson": estimate}
