"""What several seeds say together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

LEVEL = 0.95
"""Coverage of intervals over seeds."""
LEAST_SEEDS = 3
"""Seeds whose spread is taken for an error; with fewer the noise within runs alone is."""

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
    """What these runs did, on the mean: the interval holds the noise within runs, and their spread where that is more.

    Args:
        values: one a seed.
        errors: standard error of each by the noise within its run.
        freedom: degrees of freedom of that noise; None: known well.
    """
    n = len(values)
    value, spread = float(np.mean(values)), float(np.std(values, ddof=1)) if n > 1 else 0.0
    quantile = float(norm.ppf(_tail()) if freedom is None else t.ppf(_tail(), sum(freedom)))
    reach = quantile * float(np.sqrt(np.square(errors).sum())) / n
    if n >= LEAST_SEEDS:
        reach = max(reach, float(t.ppf(_tail(), n - 1)) * spread / np.sqrt(n))
    return Mean(value, value - reach, value + reach, spread, n)


def between(values: Sequence[float]) -> Mean:
    """What such runs do, on the mean, with other seeds too: the interval is Student's over seeds, infinite for one."""
    n = len(values)
    value, spread = float(np.mean(values)), float(np.std(values, ddof=1)) if n > 1 else 0.0
    reach = float(t.ppf(_tail(), n - 1)) * spread / np.sqrt(n) if n > 1 else np.inf
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


def _tail() -> float:
    return (1 + LEVEL) / 2
