"""The trace exactly, for a network that is piecewise linear in each single weight."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from overfit_lab.errors import ProbeError
from overfit_lab.probes.metrics.hessian.trace import Moments, Problem, Trace
from overfit_lab.probes.metrics.layers import group_by_layer
from overfit_lab.probes.metrics.per_sample_norms import Directions, gradient_way, squared_gradients, sum_of


def exact_trace(model: nn.Module, x: Tensor, *, layer_depth: int | None = None) -> Trace:
    r"""Tr G = mean_i sum_c || J_i^T s_ic ||^2, where the s_ic are columns with sum_c s_c s_c^T = diag p - p p^T.

    G is the generalised Gauss-Newton matrix. Where no logit has a second derivative in any single weight (ReLU
    networks with batch norm in eval mode; :func:`~.piecewise.piecewise_linear` checks),
    H and G have the same diagonal, so this is tr H, whatever the labels. It equals mean_i sum_c p_ic
    || grad log p_ic ||^2, the trace of the expected Fisher information. The matrix has rank K - 1, so K - 1 columns do.

    The images are (n, C, H, W) and the model is in eval mode; for ``layer_depth`` see :class:`~.trace.Problem`.
    The standard error is over samples: of the mean over the population that they are from. At the samples the value
    is exact to rounding.

    Raises:
        ProbeError: no trainable parameter, or batch norm that uses the batch's own statistics.

    Cost: one forward pass and K - 1 backward passes to the layers' outputs, with as many per-sample norms; no
    second-order graph; memory of a few samples.
    """

    def directions(logits: Tensor, part: slice) -> Tensor:
        return output_columns(torch.softmax(logits.double(), dim=1))

    return trace_along(model, x, directions, layer_depth)


def trace_along(
    model: nn.Module, x: Tensor, directions: Directions, layer_depth: int | None, n_vectors: int = 0
) -> Trace:
    """mean_i sum_m || J_i^T s_im ||^2, in all and by layer, with errors over samples."""
    total = Moments()
    layers: dict[str, Moments] = {}
    via = gradient_way(model, x)
    for squares in squared_gradients(model, x, directions, via=via):
        total.add(sum_of(squares, squares))
        for layer, names in group_by_layer(squares, layer_depth).items():
            layers.setdefault(layer, Moments()).add(sum_of(squares, names))
    parts = {layer: moments.part for layer, moments in layers.items()}
    return Trace(total.part.value, total.part.stderr, n_vectors, "samples", parts, via)


def output_columns(p: Tensor) -> Tensor:
    """K - 1 columns s_c (K - 1, B, K) with sum_c s_c s_c^T = diag p - p p^T for each row of p (B, K).

    With q = sqrt p, a unit vector, diag p - p p^T = diag(q) (I - q q^T) diag(q), and all columns but the first of the
    Householder reflection that takes q to -e_1 are a basis of what is orthogonal to q.
    """
    q = p.sqrt()
    mirror = q.clone()
    mirror[:, 0] += 1
    eye = torch.eye(p.shape[1], dtype=p.dtype, device=p.device)[1:]
    basis = eye.unsqueeze(1) - (q[:, 1:] / (1 + q[:, :1])).T.unsqueeze(2) * mirror
    return basis * q


def refuse_curved(problem: Problem, refusal: str) -> None:
    """Refuse a network for which tr H is not tr G, as the check of the identity says.

    Raises:
        ProbeError: ``refusal``, the reason, and the estimators to use.
    """
    holds, reason = problem.linear
    if holds is False:
        raise ProbeError(f"hessian: {refusal}: {reason}; use estimator hutchinson, hutch++ or auto")


def estimate(problem: Problem) -> Trace:
    """:func:`exact_trace` of a problem, refused where the check of the identity fails.

    Raises:
        ProbeError: the network is not piecewise linear in each weight.
    """
    refuse_curved(problem, "no exact trace")
    return exact_trace(problem.model, problem.x, layer_depth=problem.layer_depth)


REGISTER = {"exact": estimate}
