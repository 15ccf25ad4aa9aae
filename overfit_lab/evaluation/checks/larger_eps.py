"""A larger ball drives robust accuracy to zero."""

from __future__ import annotations

import math
from dataclasses import replace

from overfit_lab.evaluation.checks.base import Bench, Finding, Share, finding, right

N_STEPS = 50
STEP_SHARE = 2.5
"""Step size as a share of eps over the steps: any point of the ball can be reached (Madry et al. 2018)."""
LEFT = 0.01
"""Robust accuracy in the ball that holds every image."""


def larger_eps(bench: Bench) -> Finding:
    """Robust accuracy over eps up to the ball that holds every image, where no model can be right.

    An attack that fails even there does not follow a gradient that leads anywhere (Carlini et al. 2019, section 5.4;
    Athalye et al. 2018, arXiv 1802.00420).
    """
    radii = radii_of(bench)
    outcomes = [bench.outcome(n_steps=N_STEPS, eps=eps, step_size=STEP_SHARE * eps / N_STEPS) for eps in radii]
    shares = [right(f"right at eps {eps:.4g}", outcome) for eps, outcome in zip(radii, outcomes, strict=True)]
    first = outcomes[0]
    clean = Share("clean", round(first.clean_accuracy * len(first)), len(first))
    result = finding("larger-eps", "a ball that holds every image leaves nothing right", shares[-1], LEFT)
    return replace(result, curve=((0.0, clean), *zip(radii, shares, strict=True)))


def radii_of(bench: Bench) -> list[float]:
    """A quarter of the run's eps, doubled until the ball holds every image: 1 for l_inf, sqrt(C H W) for l_2."""
    largest = 1.0 if bench.config.attack.norm == "linf" else math.sqrt(math.prod(bench.snapshot.data.shape))
    radii = []
    radius = bench.eps / 4
    while radius < largest * 0.99:
        radii.append(radius)
        radius *= 2
    return [*radii, largest]


REGISTER = {"larger-eps": larger_eps}
