"""Confidence intervals of shares."""

from __future__ import annotations

from scipy.stats import binomtest

LEVEL = 0.95


def interval(n_successes: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Exact interval of a share (Clopper and Pearson 1934), within [0, 1], never shorter than its level promises.

    Samples are taken as independent draws; what an attack would find with other random starts is not in it.
    ``n`` is at least 1.

    Returns:
        Lower and upper bound; the share itself lies between them.

    Raises:
        ValueError: the counts make no share, or the level is none.

    Example:
        >>> [round(bound, 4) for bound in interval(0, 100)]  # upper: 1 - .025 ** (1 / 100)
        [0.0, 0.0362]
    """
    if not 0 <= n_successes <= n or n < 1:
        raise ValueError(f"{n_successes} of {n}: expected a count from 0 to n of at least one sample")
    if not 0 < level < 1:
        raise ValueError(f"level {level}: expected a number between 0 and 1")
    bounds = binomtest(n_successes, n).proportion_ci(confidence_level=level, method="exact")
    share = n_successes / n
    return min(float(bounds.low), share), max(float(bounds.high), share)
