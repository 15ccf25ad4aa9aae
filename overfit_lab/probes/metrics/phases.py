"""Whether and from when on a run overfits robustly: tests on its accuracies over epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

ALPHA = 0.05
"""Level of either test; a verdict of overfitting needs both to be significant."""
LEVEL = 0.95
"""Coverage of the interval of the onset."""
LEAST = 10
"""Evaluations that the tests need; with fewer there is not enough evidence."""
WINDOW = 3
"""Evaluations that a best or a final accuracy is the mean of."""
MARGIN = 2
"""Evaluations that must lie on either side of an onset."""
NEIGHBOURS = 11
"""Consecutive changes whose median gives the noise at an evaluation."""
LEAST_NOISE = 0.3
"""Noise at an evaluation is at least this share of the run's; accuracies are counts and may repeat exactly."""
MOST_CORRELATION = 0.8
"""Cap on the estimated correlation of noise from one evaluation to the next."""
MOST_CHANGE = 2.5
"""Changes beyond so many standard deviations, such as a jump at a decay, are cut to that."""
OFFSET, FACTOR = 0.25, 0.7
"""An estimated correlation is about OFFSET + FACTOR times the true one (simulated, 100 to 200 evaluations)."""
N_DRAWS = 499
"""Simulated curves for each test and interval; a p-value is never below 1 / (N_DRAWS + 1)."""

Verdict = Literal["robust overfitting", "none", "not enough evidence"]


@dataclass(frozen=True)
class Onset:
    """Where a level gap begins to grow: the epoch of the knot, with its interval of coverage ``LEVEL``.

    ``p`` is of the test against a gap that stays level, ``slope`` its growth an epoch after the knot.
    """

    epoch: float
    low: float
    high: float
    p: float
    slope: float


@dataclass(frozen=True)
class Fall:
    """How far an accuracy lies below its peak at the end.

    Args:
        peak_epoch: middle of the ``WINDOW`` evaluations with the largest mean.
        loss: that mean minus the mean of the last ``WINDOW``, less what a maximum over noise gives by itself.
        stderr: standard error of ``loss``: of the noise between epochs, and of the draw of samples where it is known,
            as if both accuracies were measured on samples of their own (so too large rather than too small).
        p: of the test against an accuracy that never falls.
        drop: the loss as it is read, before that correction; the true loss lies between the two, but for noise.
    """

    peak_epoch: float
    loss: float
    stderr: float
    p: float
    drop: float = float("nan")


@dataclass(frozen=True)
class Phases:
    """What the evaluations of a run say; parts that cannot be told are None."""

    verdict: Verdict
    fall: Fall | None = None
    onset: Onset | None = None
    decay_epoch: float | None = None

    @property
    def overfits(self) -> float:
        """1 for robust overfitting, 0 for none, NaN where there is not enough evidence."""
        return {"robust overfitting": 1.0, "none": 0.0}.get(self.verdict, float("nan"))


def phases(
    epochs: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    *,
    stderr: np.ndarray | None = None,
    decays: Sequence[float] = (),
    seed: int = 0,
) -> Phases:
    """Overfitting is where the gap train - test begins to grow AND test accuracy falls past its peak.

    Definition of robust overfitting: Rice et al. 2020 (arXiv 2002.11569); stationary and growth stage: SGLR
    (Yu et al. 2024). The tests are described at :func:`onset_of` and :func:`fall_of`.

    Epochs (n,) increase; accuracies (n,) are in [0, 1], ``stderr`` (n,) is that of each test accuracy by the draw of
    samples. ``decays`` are epochs after which the learning rate was lowered, where known; an onset before the first of
    them is not looked for, since robust overfitting is what follows a decay.

    Cost: a few matrix products of ``N_DRAWS`` by n by n; below 0.1 s for 200 evaluations.
    """
    finite = np.isfinite(epochs) & np.isfinite(train) & np.isfinite(test)
    if finite.sum() < LEAST:
        return Phases("not enough evidence")
    error = None if stderr is None else np.nan_to_num(stderr[finite])
    epochs, train, test = epochs[finite].astype(float), train[finite], test[finite]
    stream = np.random.default_rng(seed)
    begin = min(decays, default=-np.inf)
    if (epochs[MARGIN:-MARGIN] >= begin).sum() < 1:
        return Phases("not enough evidence")
    onset = onset_of(epochs, train - test, stream, begin)
    fall = fall_of(epochs, test, stream, error)
    grows, falls = onset.p < ALPHA, fall.p < ALPHA
    before = [decay for decay in decays if decay <= onset.high]
    return Phases(
        verdict="robust overfitting" if grows and falls else "none",
        fall=fall,
        onset=onset if grows else None,
        decay_epoch=max(before) if grows and before else None,
    )


def onset_of(epochs: np.ndarray, gap: np.ndarray, stream: np.random.Generator, begin: float = -np.inf) -> Onset:
    """The knot of the curve a + b [e > first decay] + c max(0, e - knot), c > 0, that fits a gap best by least squares.

    The gap is level in the stationary stage, but for a step at the first decay where that is known, and grows in a line
    in the growth stage. A slow growth before the onset pulls the knot to earlier epochs, a growth that speeds up to
    later ones; a first piece with a slope would find no change in a gap that grows steadily from the first decay on.
    The test against a level gap takes the largest F statistic over all knots (Andrews 1993; Hansen 1996); its
    distribution is that of simulated level gaps with the run's noise (its size at each evaluation, and autoregressive
    of order 1). The interval holds the middle ``LEVEL`` of knots refitted to simulated curves (parametric bootstrap).
    Epochs (n,) increase, n is at least ``LEAST``; ``begin`` is the epoch of the first decay: of the step, and of the
    earliest knot to consider.
    """
    knots = epochs[MARGIN:-MARGIN]
    knots = knots[knots >= begin]
    level = _level(epochs, begin)
    hinges = np.maximum(epochs - knots[:, None], 0)
    centred = hinges - hinges @ level @ level.T
    sizes = np.linalg.norm(centred, axis=1)
    units = centred / sizes[:, None]
    rest = gap - gap @ level @ level.T
    statistic, which, along = _best_knot(rest[None], units)
    k, slope = which[0], along[0] / sizes[which[0]]
    curve = slope * centred[k]
    noise, correlation = noise_of(gap)
    residuals = (rest - curve) / noise
    correlation = min(max(correlation, _lag_one(residuals)), MOST_CORRELATION)
    scale = max(1.0, float(np.sqrt(np.square(residuals).mean())))
    draws = scale * noise * autoregressive(stream, N_DRAWS, len(gap), correlation)
    draws -= draws @ level @ level.T
    null = _best_knot(draws, units)[0]
    low, high = np.quantile(knots[_best_knot(curve + draws, units)[1]], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Onset(
        epoch=float(knots[k]),
        low=float(min(low, knots[k])),
        high=float(max(high, knots[k])),
        p=_p_value(statistic[0], null),
        slope=float(slope),
    )


def fall_of(
    epochs: np.ndarray, test: np.ndarray, stream: np.random.Generator, stderr: np.ndarray | None = None
) -> Fall:
    """How far a test accuracy lies below its peak at the end, corrected for the luck of a maximum, and the test of it.

    Best and final are means of ``WINDOW`` consecutive evaluations. Their difference is compared with that of simulated
    accuracies which never fall: the non-decreasing curve nearest to the run's (isotonic regression) with the run's
    noise. Their mean difference is what the maximum over noise gives by itself, and is subtracted; it is the largest
    such bias, since a curve that does fall has fewer evaluations near its peak. ``stderr`` (n,) is that of
    each accuracy by the draw of samples.
    """
    noise, correlation = noise_of(test)
    draws = _never_falling(test) + noise * autoregressive(stream, N_DRAWS, len(test), correlation)
    null, _ = _drop(draws)
    (drop,), (peak,) = _drop(test[None])
    variance = null.var(ddof=1)
    if stderr is not None:
        variance += stderr[peak] ** 2 + stderr[-1] ** 2
    return Fall(
        peak_epoch=float(epochs[peak]),
        loss=float(drop - null.mean()),
        stderr=float(np.sqrt(variance)),
        p=_p_value(drop, null),
        drop=float(drop),
    )


def decays_of(epochs: np.ndarray, lr: np.ndarray) -> list[float]:
    """Epochs after which a learning rate that had been constant fell to half or less; none for a smooth schedule."""
    held = np.isclose(lr[1:-1], lr[:-2], rtol=1e-6)
    return [float(epoch) for epoch in epochs[1:-1][held & (lr[2:] <= 0.5 * lr[1:-1])]]


def noise_of(series: np.ndarray) -> tuple[np.ndarray, float]:
    """Standard deviation of a series' noise at each point (n,), and its correlation from one point to the next.

    From changes less their running median, by medians and with outliers cut, so that a trend and a jump count little:
    with noise of order 1 the variance of changes is 2 s^2 (1 - rho), and the correlation of one change with the next is
    -(1 - rho) / 2. What detrending and scaling do to that correlation is undone by constants that were measured on
    simulated noise; in short series it stays too large, which makes the tests cautious. The size may differ along the
    series (it drops with the learning rate), the correlation not. Binomial errors play no part here: every evaluation
    uses the same samples. n is at least 4.
    """
    changes = np.diff(series)
    changes = changes - _running_median(changes)
    overall = float(np.sqrt(np.mean(np.square(changes))))
    local = np.maximum(_running_median(np.abs(changes)) / 0.6745, max(LEAST_NOISE * overall, 1e-9))
    scaled = np.clip(changes / local, -MOST_CHANGE, MOST_CHANGE)
    raw = 1 + 2 * np.mean(scaled[1:] * scaled[:-1]) / max(float(np.mean(np.square(scaled))), 1e-12)
    correlation = float(np.clip((raw - OFFSET) / FACTOR, 0, MOST_CORRELATION))
    local = np.interp(np.arange(len(series)), np.arange(len(local)) + 0.5, local)
    return local / np.sqrt(2 * (1 - correlation)), correlation


def _running_median(values: np.ndarray) -> np.ndarray:
    """Median of the ``NEIGHBOURS`` values around each (n,), or of all where they are fewer."""
    if len(values) <= NEIGHBOURS:
        return np.full(len(values), np.median(values))
    padded = np.pad(values, NEIGHBOURS // 2, mode="reflect")
    middle: np.ndarray = np.median(np.lib.stride_tricks.sliding_window_view(padded, NEIGHBOURS), axis=1)
    return middle


def _never_falling(series: np.ndarray) -> np.ndarray:
    """The non-decreasing curve nearest to a series (n,): at t the maximum over i <= t of the least mean i..j >= t."""
    n = len(series)
    sums = np.concatenate([[0.0], np.cumsum(series)])
    lengths = np.arange(1, n + 1) - np.arange(n)[:, None]
    means = np.where(lengths > 0, (sums[1:] - sums[:-1, None]) / np.maximum(lengths, 1), np.inf)
    smallest = np.minimum.accumulate(means[:, ::-1], axis=1)[:, ::-1]
    smallest = np.where(lengths > 0, smallest, -np.inf)
    curve: np.ndarray = smallest.max(axis=0)
    return curve


def _level(epochs: np.ndarray, step: float) -> np.ndarray:
    """Orthonormal basis (n, 1 or 2) of curves that are level, but for a step after an epoch."""
    after = (epochs > step).astype(float)
    columns = [np.ones(len(epochs)), after] if 0 < after.sum() < len(epochs) else [np.ones(len(epochs))]
    basis: np.ndarray = np.linalg.qr(np.stack(columns, axis=1))[0]
    return basis


def _best_knot(curves: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Largest F statistic of each curve (m, n), its knot's number, and its part along that unit hinge; all centred."""
    along = curves @ units.T
    which = along.argmax(axis=1)
    best = np.maximum(along[np.arange(len(curves)), which], 0)
    rest = np.maximum(np.square(curves).sum(axis=1) - np.square(best), 1e-300)
    return np.square(best) / (rest / (curves.shape[1] - 3)), which, best


def _drop(curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best minus final of each curve (m, n), each a mean of ``WINDOW``, and where the middle of the best one lies."""
    sums = np.cumsum(np.pad(curves, ((0, 0), (1, 0))), axis=1)
    means = (sums[:, WINDOW:] - sums[:, :-WINDOW]) / WINDOW
    return means.max(axis=1) - means[:, -1], means.argmax(axis=1) + WINDOW // 2


def autoregressive(stream: np.random.Generator, n_draws: int, n: int, correlation: float) -> np.ndarray:
    """Stationary normal noise of order 1 and unit variance (n_draws, n)."""
    draws = stream.standard_normal((n_draws, n))
    fresh = np.sqrt(1 - correlation**2)
    for i in range(1, n):
        draws[:, i] = correlation * draws[:, i - 1] + fresh * draws[:, i]
    return draws


def _lag_one(residuals: np.ndarray) -> float:
    """Correlation of residuals from one to the next, corrected for its bias in short series."""
    power = np.square(residuals).sum()
    if power == 0:
        return 0.0
    raw = float((residuals[1:] * residuals[:-1]).sum() / power)
    return raw + (1 + 3 * raw) / len(residuals)


def _p_value(statistic: float, null: np.ndarray) -> float:
    return float((1 + (null >= statistic).sum()) / (1 + len(null)))
