"""The epoch from which an accuracy falls: the peak of the nearest rising-then-falling curve, with an interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from overfit_lab.probes.metrics.monotone import flattened, split_costs, unimodal
from overfit_lab.probes.metrics.noise import autoregressive, noise_of

LEAST = 10
"""Evaluations that a peak, and a verdict, need."""
LEVEL = 0.95
"""Coverage of the interval of the peak."""
N_DRAWS = 199
"""Simulated curves from which the interval is made."""
FLATTENING = 3.84
"""How much worse (in squares over their variance; 95% of chi-squared with 1 degree of freedom) the flattened curve may
fit from which curves are simulated: near the peak of a true curve is flatter than its noisy maximum."""


@dataclass(frozen=True)
class Peak:
    """Where an accuracy ends to rise and begins to fall.

    Args:
        epoch: the best evaluation within the interval, the first of equal ones.
        low: first evaluation at which a rising-then-falling curve may have its peak, with coverage ``LEVEL``.
        high: last such evaluation.
        height: accuracy at the peak of the nearest rising-then-falling curve.
    """

    epoch: float
    low: float
    high: float
    height: float


def peak_of(epochs: np.ndarray, accuracy: np.ndarray, seed: int = 0) -> Peak | None:
    """The peak past which an accuracy falls, given that it falls; :mod:`~.metrics.phases` tells whether it does.

    Robust overfitting begins where robust test accuracy is best (Rice et al. 2020, arXiv 2002.11569). A maximum over
    noisy evaluations may lie anywhere, early above all, where the learning rate and so the noise are large. So curves
    that rise to an evaluation and fall after it are fitted by least squares weighted by the noise (unimodal regression:
    Frisen 1986; Stout 2008), one for each evaluation. The interval holds the evaluations whose curve fits not
    significantly worse than the best one; what is significant is simulated, with the run's noise and its correlation
    around the nearest curve with its top cut flat. Where accuracy stays level for long before it falls, the interval
    holds the level stretch and the peak is any of it.
    Epochs (n,) increase, accuracies (n,) are in [0, 1]; those that are not finite are passed over.

    Returns:
        The peak; None for fewer than ``LEAST`` evaluations.

    Cost: ``N_DRAWS`` isotonic regressions in either direction; below 0.2 s for 200 evaluations.
    """
    finite = np.isfinite(epochs) & np.isfinite(accuracy)
    epochs, accuracy = np.asarray(epochs, float)[finite], np.asarray(accuracy, float)[finite]
    if len(accuracy) < LEAST:
        return None
    noise, correlation = noise_of(accuracy)
    weights = 1 / np.square(noise)
    cost = split_costs(accuracy[None], weights)[0]
    nearest = unimodal(accuracy, weights, int(cost.argmin()))
    mode = int(nearest.argmax())
    flat = flattened(accuracy, nearest, weights * (1 - correlation) / (1 + correlation), FLATTENING)
    stream = np.random.default_rng(seed)
    costs = split_costs(flat + noise * autoregressive(stream, N_DRAWS, len(flat), correlation), weights)
    at_truth = np.minimum(costs[:, mode], costs[:, max(mode - 1, 0)])
    limit = np.quantile(at_truth - costs.min(axis=1), LEVEL)
    inside = np.flatnonzero(cost - cost.min() <= limit)
    low, high = min(inside.min(), mode), max(min(inside.max() + 1, len(cost) - 1), mode)
    best = low + int(accuracy[low : high + 1].argmax())
    return Peak(float(epochs[best]), float(epochs[low]), float(epochs[high]), float(nearest[mode]))
