"""How far an accuracy lies below its best at the end, less what luck gives, with an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from overfit_lab.probes.metrics.monotone import flattened, nearest_unimodal
from overfit_lab.probes.metrics.noise import Noise, aligned, breaks_in, noise_in, without_bad

TAIL = 0.015
"""On either side of the interval. With 2.5% it would cover too seldom where noise is strongly correlated, which a
series of 50 hardly shows; with this it covers 95% (docs/operating-characteristics.md)."""
N_DRAWS = 399
"""Simulated curves."""
CAUTION = 3.5
"""Standard errors that are taken off each reading of a drop before the largest counts, so that those of few evaluations
win only where the drop is clear of their noise."""
SURE = 0.05
"""Chance that the true drop is below ``Drop.least``."""
TOP, END = 1 / 3, 1 / 5
"""Largest shares of the evaluations that a best and a final level are read from."""
WIDTHS = (1, 2, 4, 7, 12, 20, 33, 55, 90, 150)
"""Evaluations that a level is the mean of."""
N_KINKS = 40
"""Positions from which a line down to the end is tried."""
LEVEL_BEFORE = (1 / 12, 1 / 4)
"""Shares of the evaluations before a kink over which the curve is taken as level."""
FLATTENING = 3.84
"""How much worse (in squares over their variance; 95% of chi-squared with 1 degree of freedom) the curve with its top
cut flat may fit."""
BLOCK = 16
"""Where the curve is given a larger drop than it has, best and end change over an n-th part of the evaluations."""
SHARES = np.linspace(0, 1, 9)
"""Parts of a change of the drop that the best takes, the end the rest; that which fits best counts."""
LEAST_POWER = 0.16
"""The upper end is not below what this share of curves without a drop would give at most (a power-constrained limit:
Cowan, Cranmer, Gross & Vitells 2011, arXiv 1105.3166): a series that luckily shows less says no more than that."""
N_HALVINGS = 9
ROUNDING = 1e-6
"""Statistics that differ by less are equal: curves are read in single precision, and may have no noise."""
Readings = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Drop:
    """The drop of an accuracy: the maximum of its noise-free curve minus its end, at least 0.

    Args:
        value: estimate, as often too large as too small where the drop is not near 0.
        low: lower end of the 95% interval; above 0 where accuracy has fallen beyond its noise.
        high: upper end.
        least: exceeded by the true drop with a confidence of 95%; between ``low`` and ``value``.
        p: of the test against an accuracy that never falls.
        raw: best minus final of the readings, each a mean of ``width`` evaluations, luck included.
        width: evaluations.
        peak: epoch in the middle of the best ``width`` evaluations.
    """

    value: float
    low: float
    high: float
    least: float
    p: float
    raw: float
    width: int
    peak: float

    @property
    def stderr(self) -> float:
        """Half of the interval in units of the normal one's half: for the combination of runs."""
        return (self.high - self.low) / 2 / 1.96


class DropTest:
    """Which drops are compatible with a series, by simulation of curves that have them.

    A statistic reads the drop from the series: the largest, over ways to read it, of reading minus ``CAUTION`` standard
    errors (in the manner of Chernozhukov, Lee & Rosen 2013). Ways are the mean of any stretch of evaluations minus that
    of the last few, and a line that is level up to a kink and goes down to the end. For a drop that is put to the test,
    the curve nearest to the series with just that drop is taken (it rises and then falls between steps, the best or the
    end moved),
    noise is added as :func:`.noise.noise_in` knows it, and the statistic is read: a test inverted by simulation, as the
    grid bootstrap of Hansen (1999), which holds at the bound of 0 where a bootstrap does not. For the lower end the
    curve's top is cut as flat as the fit allows, since luck gives most there; for the upper end it stays sharp.

    Args:
        series: accuracies in [0, 1] (n,), n at least 10.
        steps: positions after which the curve may step for a known cause.
        seed: of the simulated noise.
    """

    def __init__(self, series: np.ndarray, steps: Sequence[int] = (), seed: int = 0) -> None:
        steps = aligned(np.asarray(series, dtype=float), steps)
        self.series = without_bad(np.asarray(series, dtype=float), steps)
        self.noise = noise_in(self.series, steps)
        self._weights = 1 / np.square(self.noise.errors)
        self._breaks = breaks_in(self.series, self.noise.errors, steps)
        self._readings = _Readings(self.noise)
        draws = self.noise.draws(np.random.default_rng(seed), N_DRAWS)
        self._draws = tuple(part.astype(np.float32) for part in self._readings.of(draws))
        self._statistic = float(self._readings.statistic(self._readings.of(self.series[None]))[0]) - ROUNDING

    @cached_property
    def sharp(self) -> np.ndarray:
        """The nearest curve that rises and then falls between its steps (n,)."""
        ends = [0, *(i + 1 for i in self._breaks if i + 1 < len(self.series)), len(self.series)]
        pieces = [slice(i, j) for i, j in pairwise(ends)]
        return np.concatenate([nearest_unimodal(self.series[piece], self._weights[piece]) for piece in pieces])

    @cached_property
    def flat(self) -> np.ndarray:
        """The same with its top cut."""
        return flattened(self.series, self.sharp, self._independent, FLATTENING)

    def p(self, drop: float) -> float:
        """Share of simulated curves with that drop whose statistic is at least the series'; grows with the drop."""
        return float((1 + (self._simulated(self.flat, drop) >= self._statistic).sum()) / (1 + N_DRAWS))

    def lower(self, share: float) -> float:
        """The drop at which :meth:`p` is ``share``; 0 where it is above at a drop of 0."""
        return self._quantile(self.flat, self._statistic, share)

    def upper(self, share: float) -> float:
        """The drop at which ``share`` of the curves with a sharp peak show at least as much as the series."""
        least = float(np.quantile(self._simulated(self.sharp, 0.0), LEAST_POWER))
        return self._quantile(self.sharp, max(self._statistic, least), share)

    def _quantile(self, base: np.ndarray, statistic: float, share: float) -> float:
        low, high = 0.0, float(np.ptp(self.series) + 6 * np.median(self.noise.errors))
        if np.mean(self._simulated(base, low) >= statistic) > share:
            return 0.0
        for _ in range(N_HALVINGS):
            middle = (low + high) / 2
            above = np.mean(self._simulated(base, middle) >= statistic) > share
            low, high = (low, middle) if above else (middle, high)
        return (low + high) / 2

    def _simulated(self, base: np.ndarray, drop: float) -> np.ndarray:
        """The statistic of simulated curves with that drop (N_DRAWS,)."""
        top, end, line = (part.astype(np.float32) for part in self._readings.of(self._with_drop(base, drop)[None]))
        tops, ends, lines = self._draws
        return self._readings.statistic((top + tops, end + ends, line + lines))

    @property
    def _independent(self) -> np.ndarray:
        """Weights of as many independent evaluations as the correlated ones are worth."""
        return self._weights * (1 - self.noise.correlation) / (1 + self.noise.correlation)

    def _with_drop(self, base: np.ndarray, drop: float) -> np.ndarray:
        """The curve nearest to the series, made of another, whose maximum lies so far above its end."""
        n, peak, best = len(base), int(base.argmax()), float(base.max())
        block, at, change = max(1, n // BLOCK), np.arange(n), drop - (best - float(base[-1]))
        curves = []
        for share in SHARES:
            if change <= 0:
                top = best + share * change
                curve = np.minimum(base, top)
                curve[peak:] = np.maximum(curve[peak:], top - drop)
            else:
                raised = base >= best - 1e-12
                if raised.sum() < block:
                    raised = np.abs(at - peak) <= block // 2
                raised &= at < n - block
                if not raised.any():
                    raised = at == n - block - 1
                curve = base.copy()
                curve[raised] = best + share * change
                curve[-block:] = best + share * change - drop
            curves.append(curve)
        costs = (self._independent * np.square(self.series - curves)).sum(axis=1)
        return curves[int(costs.argmin())]


def drop_of(epochs: np.ndarray, series: np.ndarray, steps: Sequence[int] = (), seed: int = 0) -> Drop:
    """The drop of an accuracy, its interval and its test; see :class:`DropTest`.

    Args:
        epochs: (n,), increasing.
        series: accuracies in [0, 1] (n,), n at least 10.
        steps: positions after which the curve may step for a known cause, as a decay of the learning rate.
        seed: of the simulated noise.

    Cost: some 50 readings of ``N_DRAWS`` curves; 30 ms for 50 evaluations, .1 s for 200, .3 s for 500.
    """
    test = DropTest(series, steps, seed)
    low, high, value = test.lower(TAIL), test.upper(1 - TAIL), (test.lower(0.5) + test.upper(0.5)) / 2
    width = width_for(len(series))
    means = np.convolve(test.series, np.full(width, 1 / width), "valid")
    return Drop(
        value=value,
        low=min(low, value),
        high=min(max(high, value), 1.0),
        least=min(max(low, test.lower(SURE)), value),
        p=test.p(0.0),
        raw=float(means.max() - means[-1]),
        width=width,
        peak=float(epochs[int(means.argmax()) + width // 2]),
    )


def width_for(n: int) -> int:
    """Evaluations that a best and a final level are the mean of, for ``n`` in all: 1 to 9, an odd number."""
    return int(np.clip(n // 20, 1, 9)) | 1 if n >= 20 else 1


class _Readings:
    """The ways to read a drop from a curve, and what is taken off each; linear in the curve up to the maximum."""

    def __init__(self, noise: Noise) -> None:
        errors, correlation, n = noise.errors, noise.correlation, len(noise.errors)
        self.tops = [(w, max(1, w // 2)) for w in WIDTHS if w <= max(n * TOP, 1)]
        self.ends = [w for w in WIDTHS if w <= max(n * END, 3)]
        self.lines = _lines(errors)
        variance, shared = np.square(errors)[None], {w: _variance_of_mean(w, correlation) for w in WIDTHS}
        tops = [np.sqrt(_means(variance, w, step)[0] * shared[w]) for w, step in self.tops]
        ends = [float(np.sqrt(variance[0, -w:].mean() * shared[w])) for w in self.ends]
        off = np.concatenate(tops), np.array(ends), noise.error_of(self.lines)
        self.off = tuple((CAUTION * part).astype(np.float32) for part in off)

    def of(self, curves: np.ndarray) -> Readings:
        """Best levels, last levels and drops of lines of curves (m, n), each (m, ways)."""
        tops = np.concatenate([_means(curves, w, step) for w, step in self.tops], axis=1)
        ends = np.stack([curves[:, -w:].mean(axis=1) for w in self.ends], axis=1)
        return tops, ends, curves @ self.lines.T

    def statistic(self, readings: Readings) -> np.ndarray:
        """The largest drop that the readings show, each with ``CAUTION`` (m,)."""
        (tops, ends, lines), (top, end, line) = readings, self.off
        levels = (tops - top).max(axis=1) - (ends + end).min(axis=1)
        statistic: np.ndarray = np.maximum(levels, (lines - line).max(axis=1))
        return statistic


def _means(curves: np.ndarray, width: int, step: int) -> np.ndarray:
    """Means of ``width`` consecutive values of curves (m, n), from every ``step``-th position on."""
    sums = np.cumsum(np.pad(curves, ((0, 0), (1, 0))), axis=1)
    means: np.ndarray = (sums[:, width::step] - sums[:, : sums.shape[1] - width : step]) / width
    return means


def _lines(errors: np.ndarray) -> np.ndarray:
    """Weights (m, n) whose sums with a series are the drops of lines: level before a kink, straight from it to the end.

    Least squares, over evaluations from a little before the kink on, weighted by the noise.
    """
    n = len(errors)
    at, kinks = np.arange(n), np.arange(0, n - max(3, n // 10), max(1, n // N_KINKS))[:, None]
    rows = []
    for share in LEVEL_BEFORE:
        weights = np.where(at >= np.maximum(kinks - int(share * n), 0), 1 / np.square(errors), 0.0)
        down = np.maximum(at - kinks, 0.0)
        centred = (down - ((weights * down).sum(axis=1) / weights.sum(axis=1))[:, None]) * weights
        rows.append(-centred / (centred * down).sum(axis=1)[:, None] * (n - 1 - kinks))
    return np.concatenate(rows)


def _variance_of_mean(width: int, correlation: float) -> float:
    """Of ``width`` values of unit variance with noise of order 1."""
    lags = np.arange(1, width)
    return float((1 + 2 * ((1 - lags / width) * correlation**lags).sum()) / width)
