"""The exact estimator's sum over classes, replaced by random vectors in the logits: for many classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from overfit_lab.probes.metrics.hessian.exact import refuse_curved, trace_along
from overfit_lab.probes.metrics.hessian.trace import Problem, Trace


def sampled_trace(
    model: nn.Module, x: Tensor, *, generator: torch.Generator, n_vectors: int = 1, layer_depth: int | None = None
) -> Trace:
    r"""Tr G = mean_i E || J_i^T S_i xi ||^2 with S_i S_i^T = diag p_i - p_i p_i^T and random signs xi in R^K; unbiased.

    Equal to tr H where :func:`~.exact.exact_trace` is. Each sample draws ``n_vectors`` (m) vectors of its own.
    The standard error is over samples and includes that of the vectors.

    Raises:
        ProbeError: no trainable parameter, or batch norm that uses the batch's own statistics.

    Cost: one forward pass and m backward passes to the layers' outputs; memory of a few samples.
    """

    def directions(logits: Tensor, part: slice) -> Tensor:
        q = torch.softmax(logits.double(), dim=1).sqrt()
        bits = torch.randint(2, (n_vectors, *q.shape), generator=generator, device=q.device)
        xi = (2 * bits - 1).to(q)
        return q * (xi - (q * xi).sum(dim=2, keepdim=True) * q) / n_vectors**0.5

    return trace_along(model, x, directions, layer_depth, n_vectors)


def estimate(problem: Problem) -> Trace:
    """:func:`sampled_trace` of a problem, refused where the check of the identity fails.

    Raises:
        ProbeError: the network is not piecewise linear in each weight.
    """
    refuse_curved(problem, "no trace from sampled outputs")
    return sampled_trace(
        problem.model,
        problem.x,
        generator=problem.generator,
        n_vectors=problem.output_vectors,
        layer_depth=problem.layer_depth,
    )


REGISTER = {"sampled": estimate}
