"""Means, medians and intervals over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

LEVEL = 0.95
"""Coverage of intervals over seeds."""
TAIL = (1 + LEVEL) / 2
LEAST_SEEDS = 3
"""Seeds from which on their spread counts as an error; with fewer only the noise within runs does."""

MEDIAN = 1.2533
"""Standard error of a median over that of a mean, of normal values: the root of pi / 2."""


@dataclass(frozen=True)
class Mean:
    """A mean over seeds with its interval.

    Args:
        value: the mean.
        low: lower end of its interval of coverage ``LEVEL``.
        high: upper end.
        spread: sample standard deviation over seeds; 0 for one.
        n: seeds.
    """

    value: float
    low: float
    high: float
    spread: float
    n: int


def within(values: Sequence[float], errors: Sequence[float], freedom: Sequence[int] | None = None) -> Mean:
    """Mean of these runs. Its interval covers the noise within runs, or the spread over seeds if that is larger.

    Args:
        values: one a seed.
        errors: standard error of each by the noise within its run.
        freedom: degrees of freedom of that noise; None: known well.
    """
    n = len(values)
    value, spread = float(np.mean(values)), float(np.std(values, ddof=1)) if n > 1 else 0.0
    quantile = float(norm.ppf(TAIL) if freedom is None else t.ppf(TAIL, sum(freedom)))
    reach = quantile * float(np.sqrt(np.square(errors).sum())) / n
    if n >= LEAST_SEEDS:
        reach = max(reach, float(t.ppf(TAIL, n - 1)) * spread / np.sqrt(n))
    return Mean(value, value - reach, value + reach, spread, n)


def between(values: Sequence[float]) -> Mean:
    """Mean over the population of seeds, with Student's interval; infinite for one seed."""
    n = len(values)
    value, spread = float(np.mean(values)), float(np.std(values, ddof=1)) if n > 1 else 0.0
    reach = float(t.ppf(TAIL, n - 1)) * spread / np.sqrt(n) if n > 1 else np.inf
    return Mean(value, value - reach, value + reach, spread, n)


def median(values: Sequence[float], lows: Sequence[float], highs: Sequence[float]) -> tuple[float, float, float]:
    """Median of epochs over seeds and its interval, whole epochs: ends of the seeds' intervals combined.

    The distances of each seed's ends from its value are taken as errors that are independent between seeds, and those
    of a median as ``MEDIAN`` times those of a mean; where the seeds' spread says more, it stands.
    """
    n, middle = len(values), float(np.median(values))
    if n == 1:
        return middle, float(lows[0]), float(highs[0])
    spread = between(values)
    floor = spread.value - spread.low if n >= LEAST_SEEDS else 0.0
    below = max(floor, float(np.sqrt(np.square(np.subtract(values, lows)).sum())) / n)
    above = max(floor, float(np.sqrt(np.square(np.subtract(highs, values)).sum())) / n)
    low, high = max(middle - MEDIAN * below, min(lows)), min(middle + MEDIAN * above, max(highs))
    return middle, float(min(np.floor(low), middle)), float(max(np.ceil(high), middle))
