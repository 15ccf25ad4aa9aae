"""Whether and from when on a run overfits robustly: the one judge, of its accuracies over epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import t as student

from overfit_lab.probes.metrics.collapse import Collapse, collapse_of
from overfit_lab.probes.metrics.drop import TAIL, Drop, drop_of, width_for
from overfit_lab.probes.metrics.noise import MOST_CORRELATION, aligned, autoregressive, noise_in, noise_of
from overfit_lab.probes.metrics.unimodal import LEAST, Peak, peak_of

THRESHOLD = 0.01
"""Drop of accuracy that is worth a word, unless a user says otherwise."""
LEAST_CHANGED = 6
"""Test samples that must have changed from right to wrong at least: with fewer, a sign test does not reach 2.5%."""
LEVEL = 0.95
"""Coverage of the interval of the epoch from which a gap grows."""
ALPHA = 0.05
"""Level of the test against a level gap."""
MARGIN = 2
"""Evaluations that must lie on either side of that epoch."""
N_DRAWS = 499
"""Simulated curves for that test and its interval; a p-value is never below 1 / (N_DRAWS + 1)."""
AT_DECAY = 1
"""Evaluations after a decay of the learning rate up to which a peak is said to be at it."""

Verdict = Literal["robust overfitting", "catastrophic overfitting", "none", "not enough evidence"]
When = Literal["before any decay", "at a decay", "after a decay", ""]


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
class Widening:
    """Growth of the gap train - test from the best evaluations of test accuracy to the last ones, with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Phases:
    """What the evaluations of a run say; parts that cannot be told are None.

    Args:
        verdict: the answer.
        drop: of test accuracy.
        gap: its widening since the peak; None where train accuracy was not recorded.
        peak: of test accuracy, for a run that overfits: the epoch from which it falls.
        onset: where the gap begins to grow, whether test accuracy falls or not; None where it stays level.
        collapse: of catastrophic overfitting.
        when: where the peak lies beside the decays of the learning rate; empty without either.
        decay_epoch: the last decay before the peak.
        few: samples that changed, where they are too few to tell.
    """

    verdict: Verdict
    drop: Drop | None = None
    gap: Widening | None = None
    peak: Peak | None = None
    onset: Onset | None = None
    collapse: Collapse | None = None
    when: When = ""
    decay_epoch: float | None = None
    few: int | None = None

    @property
    def overfits(self) -> float:
        """1 for overfitting, robust or catastrophic, 0 for none, NaN where there is not enough evidence."""
        return {"none": 0.0, "not enough evidence": float("nan")}.get(self.verdict, 1.0)


def phases(
    epochs: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    *,
    decays: Sequence[float] = (),
    clean: np.ndarray | None = None,
    n_test: int | None = None,
    threshold: float = THRESHOLD,
    seed: int = 0,
) -> Phases:
    """A run overfits where test accuracy ends below its best by more than noise and enough to care, as its gap widens.

    Definition of robust overfitting: Rice et al. 2020 (arXiv 2002.11569). The drop is :func:`.drop.drop_of`; a collapse
    is an answer of its own. Yes needs a drop whose interval lies above 0, an estimate of ``threshold`` at least, half
    of which is exceeded with a confidence of 95%, and a gap train - test that grows beyond its noise, by ``threshold``
    too, from the best evaluations to the last. No needs an interval of the drop, or of the gap's growth, below
    ``threshold``. Whatever the schedule: decays of the learning
    rate are steps that the curve may have and places to describe the peak by, no condition.

    Args:
        epochs: (n,), increasing.
        train: accuracies in [0, 1] (n,), NaN where not recorded; with fewer than 10 the drop alone is judged.
        test: accuracies (n,), of the same samples at every evaluation; those that are not finite are passed over.
        decays: epochs after which the learning rate was lowered, where known.
        clean: clean test accuracies (n,), which tell a collapse of robust accuracy from training that diverged.
        n_test: test samples.
        threshold: drop that counts, in (0, 1).
        seed: of simulated noise.

    Cost: .2 s for 100 evaluations, 2 s for 500.
    """
    seen = np.isfinite(epochs) & np.isfinite(test)
    if seen.sum() < LEAST:
        return Phases("not enough evidence")
    epochs, train, test = np.asarray(epochs, float)[seen], np.asarray(train, float)[seen], np.asarray(test, float)[seen]
    steps = steps_at(epochs, decays)
    drop = drop_of(epochs, test, steps, seed)
    collapse = collapse_of(epochs, test, None if clean is None else np.asarray(clean, float)[seen])
    gap = widening_of(epochs, train, test, drop, decays)
    few = None
    if n_test is not None and drop.low > 0 and threshold <= drop.value < LEAST_CHANGED / n_test:
        few = round(drop.value * n_test)
    verdict: Verdict = "catastrophic overfitting" if collapse else verdict_of(drop, gap, threshold, few)
    peak = peak_of(epochs, test, seed) if verdict == "robust overfitting" else None
    when, decay = ("", None) if peak is None else _beside(peak, epochs, decays)
    onset, both = None, np.isfinite(train)
    if both.sum() >= LEAST:
        begin = -np.inf if decay is None else decay
        onset = onset_of(epochs[both], (train - test)[both], np.random.default_rng(seed), begin)
    return Phases(
        verdict,
        drop,
        gap,
        peak,
        onset if onset is not None and onset.p < ALPHA else None,
        collapse,
        when,
        decay,
        few if verdict == "not enough evidence" else None,
    )


def widening_of(
    epochs: np.ndarray, train: np.ndarray, test: np.ndarray, drop: Drop, decays: Sequence[float] = ()
) -> Widening | None:
    """Growth of the gap from the best evaluations of test accuracy to the last ones; None without train accuracies.

    The luck of the best ones, the raw drop less its estimate, makes their gap too small and is taken off.
    """
    both = np.isfinite(train)
    if both.sum() < LEAST:
        return None
    gap, at = (train - test)[both], int(np.abs(epochs[both] - drop.peak).argmin())
    n, width = len(gap), width_for(int(both.sum()))
    noise = noise_in(gap, aligned(gap, steps_at(epochs[both], decays)))
    contrast = np.zeros((1, n))
    first = int(np.clip(at - width // 2, 0, n - width))
    contrast[0, first : first + width] -= 1 / width
    contrast[0, -width:] += 1 / width
    growth = float(contrast[0] @ gap) - max(0.0, drop.raw - drop.value)
    reach = float(student.ppf(1 - TAIL, noise.freedom) * noise.error_of(contrast)[0])
    return Widening(growth, growth - reach, growth + reach)


def samples_of(accuracies: np.ndarray, errors: np.ndarray) -> int | None:
    """Samples behind accuracies, from their binomial standard errors, both (n,); None where no error is above 0."""
    known = np.isfinite(errors) & (errors > 0)
    if not known.any():
        return None
    shares, squares = np.asarray(accuracies)[known], np.square(errors[known])
    return round(float(np.median(shares * (1 - shares) / squares)))


def steps_at(epochs: np.ndarray, decays: Sequence[float]) -> list[int]:
    """Positions of the last evaluations before each decay, of those that lie within the series (n,)."""
    at = [int(np.searchsorted(epochs, decay, side="right")) - 1 for decay in decays]
    return sorted({i for i in at if 0 <= i < len(epochs) - 1})


def verdict_of(drop: Drop, gap: Widening | None, threshold: float = THRESHOLD, few: int | None = None) -> Verdict:
    """The answer that a drop and a widening of the gap give; see :func:`phases`."""
    if gap is not None and gap.high < threshold:
        return "none"
    if drop.high < threshold:
        return "none"
    falls = drop.low > 0 and drop.value >= threshold and drop.least >= threshold / 2 and few is None
    widens = gap is None or (gap.low > 0 and gap.value >= threshold)
    return "robust overfitting" if falls and widens else "not enough evidence"


def _beside(peak: Peak, epochs: np.ndarray, decays: Sequence[float]) -> tuple[When, float | None]:
    """Where a peak lies beside the decays, and the last of them before it."""
    if not decays:
        return "", None
    past = [decay for decay in decays if decay < peak.epoch]
    if not past:
        return "before any decay", None
    since = ((epochs > max(past)) & (epochs <= peak.epoch)).sum()
    return ("at a decay" if since <= AT_DECAY else "after a decay"), max(past)


def onset_of(epochs: np.ndarray, gap: np.ndarray, stream: np.random.Generator, begin: float = -np.inf) -> Onset:
    """The knot of the curve a + b [e > begin] + c max(0, e - knot), c > 0, that fits a gap best by least squares.

    The gap is level in the stationary stage, but for a step at a decay where one is known, and grows in a line in the
    growth stage. A slow growth before the onset pulls the knot to earlier epochs, a growth that speeds up to
    later ones; a first piece with a slope would find no change in a gap that grows steadily from the first decay on.
    The test against a level gap takes the largest F statistic over all knots (Andrews 1993; Hansen 1996); its
    distribution is that of simulated level gaps with the run's noise (its size at each evaluation, and autoregressive
    of order 1). The interval holds the middle ``LEVEL`` of knots refitted to simulated curves (parametric bootstrap).
    Epochs (n,) increase, n is at least ``LEAST``; ``begin`` is an epoch of the step, and before the earliest knot.
    """
    knots = epochs[MARGIN:-MARGIN]
    knots = knots[knots >= begin] if (knots >= begin).any() else knots
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


def _lag_one(residuals: np.ndarray) -> float:
    """Correlation of residuals from one to the next, corrected for its bias in short series."""
    power = np.square(residuals).sum()
    if power == 0:
        return 0.0
    raw = float((residuals[1:] * residuals[:-1]).sum() / power)
    return raw + (1 + 3 * raw) / len(residuals)


def _p_value(statistic: float, null: np.ndarray) -> float:
    return float((1 + (null >= statistic).sum()) / (1 + len(null)))
