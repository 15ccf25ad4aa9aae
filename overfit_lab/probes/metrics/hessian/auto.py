"""The exact trace where the network allows it, else Hutchinson's estimate."""

from __future__ import annotations

from overfit_lab.probes.metrics.hessian import exact, hutchinson
from overfit_lab.probes.metrics.hessian.trace import Problem, Trace


def estimate(problem: Problem) -> Trace:
    """The trace by :mod:`exact` where it holds, or is not a number in any case; else by :mod:`hutchinson`."""
    holds, _ = problem.linear
    return hutchinson.estimate(problem) if holds is False else exact.estimate(problem)


REGISTER = {"auto": estimate}
