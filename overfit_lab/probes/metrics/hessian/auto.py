"""The trace without a Hessian where the network allows it, exactly or sampled by cost; else Hutchinson's estimate."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from overfit_lab.probes.metrics.hessian import exact, hutchinson, sampled
from overfit_lab.probes.metrics.hessian.trace import Problem, Trace

COLUMNS = 2
"""Columns of the exact trace that take the time of one Hessian product; 2.2 to 2.4 as measured."""
FEW = 10
"""Products whose time the exact trace may take in any case."""


def estimate(problem: Problem) -> Trace:
    """The trace by :mod:`exact`, :mod:`sampled` or :mod:`hutchinson`.

    Hutchinson's where the identity of :mod:`exact` does not hold. Else exactly, if the K - 1 columns take no longer
    than ``max_vectors`` Hessian products. If they do, from random vectors in the logits, as many that their relative
    error is ``tolerance`` at most where samples have like traces: by quadratic forms in random signs,
    (2 / (n m))^(1/2). That error is the smaller for the time: Hutchinson's grows with K.
    """
    holds, _ = problem.linear
    if holds is False:
        return hutchinson.estimate(problem)
    with torch.no_grad():
        columns = problem.model(problem.x[:1]).shape[1] - 1
    if columns <= COLUMNS * max(problem.max_vectors, FEW) or problem.tolerance == 0:
        return exact.estimate(problem)
    enough = math.ceil(2 / (len(problem.x) * problem.tolerance**2))
    if enough >= columns:
        return exact.estimate(problem)
    return sampled.estimate(replace(problem, output_vectors=max(problem.output_vectors, enough)))


REGISTER = {"auto": estimate}
