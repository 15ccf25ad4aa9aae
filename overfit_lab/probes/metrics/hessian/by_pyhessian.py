"""Trace and top eigenvalue by PyHessian, as a cross-check."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional

from overfit_lab.errors import ProbeError
from overfit_lab.models.isolation import isolated
from overfit_lab.probes.metrics.hessian.products import trainable
from overfit_lab.probes.metrics.hessian.trace import Problem, Trace, mean_and_stderr
from overfit_lab.seeds import private_streams


def pyhessian_summary(
    model: nn.Module, x: Tensor, y: Tensor, *, seed: int, max_vectors: int = 30, tolerance: float = 0.05
) -> tuple[Trace, float]:
    """Trace and top eigenvalue by PyHessian (Yao et al. 2020, arXiv 1912.07145), as a cross-check.

    PyHessian leaves gradients filled and the mode changed, and draws from the global random stream; all is put back.
    Its ``tolerance`` compares running means and bounds no error; the standard error is ours, from its samples.

    Raises:
        ProbeError: the loss does not depend on some parameter, on which PyHessian fails.
    """
    from pyhessian import hessian

    with torch.enable_grad():
        loss = functional.cross_entropy(model(x[:2]).float(), y[:2])
    if any(g is None for g in torch.autograd.grad(loss, trainable(model), allow_unused=True)):
        raise ProbeError("hessian: PyHessian fails on a model with an unused parameter; use estimator hutchinson")
    with isolated(model), private_streams(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engine = hessian(model, nn.CrossEntropyLoss(), data=(x, y), cuda=x.is_cuda)
        samples = [float(value) for value in engine.trace(maxIter=max_vectors, tol=tolerance)]
        eigenvalues, _ = engine.eigenvalues(top_n=1)
    mean, stderr = mean_and_stderr(samples)
    return Trace(mean, stderr if len(samples) > 1 else None, len(samples)), float(eigenvalues[0])


def estimate(problem: Problem) -> Trace:
    """:func:`pyhessian_summary`'s trace of a problem."""
    seed = problem.generator.initial_seed()
    trace, _ = pyhessian_summary(
        problem.model, problem.x, problem.y, seed=seed, max_vectors=problem.max_vectors, tolerance=problem.tolerance
    )
    return trace


REGISTER = {"pyhessian": estimate}
