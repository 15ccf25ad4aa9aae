"""The epoch from which an accuracy falls: the peak of the nearest rising-then-falling curve, with an interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from overfit_lab.probes.metrics.phases import LEAST, autoregressive, noise_of

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
    """The peak past which an accuracy falls, given that it falls; ``phases.fall_of`` tells whether it does.

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
    flat = _flattened(accuracy, nearest, weights * (1 - correlation) / (1 + correlation))
    stream = np.random.default_rng(seed)
    costs = split_costs(flat + noise * autoregressive(stream, N_DRAWS, len(flat), correlation), weights)
    at_truth = np.minimum(costs[:, mode], costs[:, max(mode - 1, 0)])
    limit = np.quantile(at_truth - costs.min(axis=1), LEVEL)
    inside = np.flatnonzero(cost - cost.min() <= limit)
    low, high = min(inside.min(), mode), max(min(inside.max() + 1, len(cost) - 1), mode)
    best = low + int(accuracy[low : high + 1].argmax())
    return Peak(float(epochs[best]), float(epochs[low]), float(epochs[high]), float(nearest[mode]))


def unimodal(series: np.ndarray, weights: np.ndarray, split: int) -> np.ndarray:
    """The curve (n,) nearest to a series that does not fall up to ``split`` (included) and does not rise after it."""
    rising = _rising(series[: split + 1], weights[: split + 1])
    return np.concatenate([rising, _rising(series[split + 1 :][::-1], weights[split + 1 :][::-1])[::-1]])


def split_costs(curves: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted squares between each curve (m, n) and :func:`unimodal` of it for each split (m, n)."""
    up = _rising_costs(curves, weights)
    down = _rising_costs(curves[:, ::-1], weights[::-1])[:, ::-1]
    return up + np.concatenate([down[:, 1:], np.zeros((len(curves), 1))], axis=1)


def _rising(series: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The non-decreasing curve nearest to a series (n,), by pooling adjacent violators."""
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(series, weights, strict=True):
        total, mass, length = value * weight, weight, 1
        while blocks and blocks[-1][0] * mass >= total * blocks[-1][1]:
            before = blocks.pop()
            total, mass, length = total + before[0], mass + before[1], length + before[2]
        blocks.append((total, mass, length))
    return np.concatenate([np.full(n, total / mass) for total, mass, n in blocks] or [np.zeros(0)])


def _rising_costs(curves: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted squares between the first i + 1 values of each curve (m, n) and their nearest non-decreasing curve.

    Pooling of adjacent violators for all curves side by side: each holds a stack of blocks, and a round merges the last
    two blocks of those curves where they are out of order. ``explained`` is what blocks take off the sum of squares.
    """
    m, n = curves.shape
    rows, top = np.arange(m), np.full(m, -1)
    total, mass = np.zeros((m, n)), np.zeros((m, n))
    explained, costs = np.zeros(m), np.zeros((m, n))
    power = np.cumsum(weights * np.square(curves), axis=1)
    for i in range(n):
        top += 1
        total[rows, top], mass[rows, top] = weights[i] * curves[:, i], weights[i]
        explained = explained + weights[i] * np.square(curves[:, i])
        active = rows[top > 0]
        while len(active):
            last = top[active]
            a, b = total[active, last - 1], total[active, last]
            mass_a, mass_b = mass[active, last - 1], mass[active, last]
            wrong = a * mass_b >= b * mass_a
            active, last = active[wrong], last[wrong]
            a, b, mass_a, mass_b = a[wrong], b[wrong], mass_a[wrong], mass_b[wrong]
            explained[active] += (a + b) ** 2 / (mass_a + mass_b) - a * a / mass_a - b * b / mass_b
            total[active, last - 1], mass[active, last - 1] = a + b, mass_a + mass_b
            top[active] -= 1
            active = active[top[active] > 0]
        costs[:, i] = power[:, i] - explained
    return costs


def _flattened(series: np.ndarray, curve: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The curve with its top cut off as far down as its fit gets no worse than by ``FLATTENING`` (bisection)."""
    allowed = float((weights * np.square(series - curve)).sum()) + FLATTENING
    low, high = float(curve.min()), float(curve.max())
    for _ in range(30):
        middle = (low + high) / 2
        cut = float((weights * np.square(series - np.minimum(curve, middle))).sum())
        low, high = (low, middle) if cut <= allowed else (middle, high)
    return np.minimum(curve, high)
