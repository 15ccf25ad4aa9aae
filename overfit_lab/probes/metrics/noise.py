"""The noise of a number from one evaluation to the next: its size, its correlation, and what of both is unknown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter1d

from overfit_lab.probes.metrics.monotone import nearest_unimodal

NEIGHBOURS = 11
"""Consecutive changes whose median is the local trend, or the local size of noise."""
LEAST_NOISE = 0.3
"""Noise at an evaluation is at least this share of the run's; accuracies are counts and may repeat exactly."""
MOST_CORRELATION = 0.8
"""Cap on the correlation that is estimated from changes alone."""
MOST_CHANGE = 2.5
"""Changes beyond so many standard deviations, such as a jump at a decay, are cut to that."""
OFFSET, FACTOR = 0.25, 0.7
"""An estimated correlation is about OFFSET + FACTOR times the true one (simulated, 100 to 200 evaluations)."""
QUANTILE = 0.6745
"""Median of the absolute value of a standard normal number."""

CORRELATIONS = np.linspace(0, 0.95, 20)
"""Correlations from one evaluation to the next that noise may have."""
INDEPENDENT = 0.9
"""Prior weight of noise without correlation, in a series that says enough of it; in a short one it is less."""
SHORT = 50
"""That weight is (n - 5) / ``SHORT`` where this is less."""
SLOPE = 16
"""Half of the rest of the prior grows as that power of the correlation, half is level: noise that is taken for less
correlated makes false alarms."""
SHAPES = (0.0, 0.5, 1.0)
"""Powers of the local sizes of noise that are tried: 0 is noise of one size."""
SHAPE_COST = 3.0
"""What a power of 1 must gain in log-likelihood, since the local sizes were estimated from the same series."""
BAD = 5.0
"""Evaluations that lie so many standard deviations of a change below their neighbours, one or two, are set aside."""
JUMP = 4.0
"""Changes beyond so many standard deviations are jumps of the curve, not noise; ``MOST_JUMPS`` at most."""
MOST_JUMPS = 3
MOST_STEPS = 4
"""Steps known beforehand, such as decays of the learning rate, that the curve may have."""
BEGINNING = 20
"""The first n-th part of the evaluations, where a curve rises too steeply to be told from noise, is passed over."""
NEAR = 1
"""Evaluations by which a step may come earlier or later than the learning rate says."""
LEAST_BENT, BENT = 60, 0.05
"""Evaluations from which a curve may bend after a step, and the share of them over which it does."""
LEAST_STRETCH = 8
"""Changes from which a size of noise is estimated by itself."""
SPACING = 40
"""Evaluations per knot of the curve under which noise is seen."""


@dataclass(frozen=True)
class Noise:
    """Noise of a series (n,): normal, autoregressive of order 1, its size differing along the series.

    Args:
        sizes: of the noise at each evaluation, up to one common factor (n,).
        weights: posterior of ``CORRELATIONS``, sums to 1.
        squares: residual sum of squares, in units of ``sizes``, at each correlation.
        freedom: degrees of freedom of those.
    """

    sizes: np.ndarray
    weights: np.ndarray
    squares: np.ndarray
    freedom: int

    @property
    def correlation(self) -> float:
        """Posterior mean, in [0, .95]."""
        return float(self.weights @ CORRELATIONS)

    @property
    def errors(self) -> np.ndarray:
        """Standard deviation of the noise at each evaluation (n,)."""
        return self.sizes * float(np.sqrt(self.weights @ self.squares / self.freedom))

    def draws(self, stream: np.random.Generator, n_draws: int) -> np.ndarray:
        """Simulated noise (n_draws, n), each with a correlation and a size drawn from what is known of them."""
        which = stream.choice(len(CORRELATIONS), n_draws, p=self.weights)
        scale = np.sqrt(self.squares[which] / stream.chisquare(self.freedom, n_draws))
        return scale[:, None] * self.sizes * autoregressive(stream, n_draws, len(self.sizes), CORRELATIONS[which])

    def error_of(self, contrasts: np.ndarray) -> np.ndarray:
        """Standard errors (m,) of weighted sums of the series; weights (m, n)."""
        sums = contrasts * self.errors
        rho = self.correlation
        for i in range(sums.shape[1] - 2, -1, -1):
            sums[:, i] += rho * sums[:, i + 1]
        error: np.ndarray = np.sqrt(np.square(sums[:, 0]) + (1 - rho**2) * np.square(sums[:, 1:]).sum(axis=1))
        return error


def noise_in(series: np.ndarray, steps: Sequence[int] = ()) -> Noise:
    """The noise around a smooth curve, by restricted maximum likelihood with what is unknown left unknown.

    The curve is a constant, a line, two saturating exponentials of the beginning, a kink at its peak, a knot for every
    ``SPACING`` evaluations, and a step with a kink and a bend at ``steps`` and
    at jumps that are no noise. The restricted
    likelihood (Patterson & Thompson 1971; Harville 1977) takes the fit of the curve into account; over the correlation
    it is integrated, not maximised: a series of 10 says little of it, and then what follows from the noise is as
    uncertain as that.

    Args:
        series: (n,), n at least 7; evaluations of a failed epoch are best set aside first by :func:`without_bad`.
        steps: positions after which the curve may jump.

    Cost: 60 least squares with n rows and about 10 columns.
    """
    every = local_sizes(series, steps)
    first = len(series) // BEGINNING if len(series) >= 20 else 0
    n, series, local = len(series) - first, series[first:], every[first:]
    middle = float(np.exp(np.log(local).mean()))
    curve = _curves(series, local, [step - first for step in steps if step >= first])
    steep = CORRELATIONS**SLOPE / np.sum(CORRELATIONS**SLOPE)
    prior = np.where(CORRELATIONS > 0, (steep + 1 / (len(CORRELATIONS) - 1)) / 2, 0)
    independent = min(INDEPENDENT, (len(every) - 5) / SHORT)
    prior *= (1 - independent) / prior.sum()
    prior[0] = independent
    freedom = n - curve.shape[1]
    best: tuple[float, Noise] | None = None
    for shape in SHAPES:
        sizes = middle * (local / middle) ** shape
        likelihoods, squares = np.array(
            [_restricted(series / sizes, curve / sizes[:, None], r) for r in CORRELATIONS]
        ).T
        posterior = np.exp(likelihoods - likelihoods.max()) * prior
        evidence = likelihoods.max() + np.log(posterior.sum()) - np.log(sizes).sum() - SHAPE_COST * shape
        if best is None or evidence > best[0]:
            best = (
                float(evidence),
                Noise(middle * (every / middle) ** shape, posterior / posterior.sum(), squares, freedom),
            )
    assert best is not None
    return best[1]


def without_bad(series: np.ndarray, steps: Sequence[int] = ()) -> np.ndarray:
    """The series with evaluations far below their neighbours, one or two in a row, replaced by their median.

    A failed epoch is no property of the curve; from three in a row on it may be one. n is at least 7.
    """
    n, error = len(series), np.sqrt(2) * local_sizes(series, steps)
    around = np.array([np.median(series[(start := min(max(i - 3, 0), n - 7)) : start + 7]) for i in range(n)])
    bad = around - series > BAD * error
    clean, i = series.copy(), 0
    while i < n:
        end = i
        while end < n and bad[end]:
            end += 1
        if 0 < end - i <= 2 and i > 2:  # the first evaluations rise too steeply to be told from noise
            clean[i:end] = np.median(np.concatenate([series[i - 3 : i], series[end : end + 3]]))
        i = max(i + 1, end)
    return clean


def aligned(series: np.ndarray, steps: Sequence[int]) -> list[int]:
    """Steps moved to the largest change of the series within ``NEAR`` evaluations.

    Some record the learning rate that an epoch began with, some that with which it ended.
    """
    changes = np.abs(np.diff(series))
    moved = set()
    for step in steps:
        first, end = max(step - NEAR, 0), min(step + NEAR + 1, len(changes))
        if first < end:
            moved.add(first + int(changes[first:end].argmax()))
    return sorted(moved)


def local_sizes(series: np.ndarray, steps: Sequence[int] = ()) -> np.ndarray:
    """Size of the noise at each evaluation (n,), from changes less their trend, as if they were independent.

    It may change at ``steps``: stretches between them that are long enough are looked at by themselves.
    """
    changes = np.diff(series)
    bounds = [0]
    for step in steps:
        if step - bounds[-1] >= LEAST_STRETCH and len(changes) - step - 1 >= LEAST_STRETCH:
            bounds.append(step + 1)
    parts = [_sizes_of_changes(changes[i:j]) for i, j in zip(bounds, [*bounds[1:], len(changes)], strict=True)]
    local = np.concatenate(parts)
    known: np.ndarray = np.concatenate([local[:1], local]) / np.sqrt(2)
    if len(parts) == 1:
        known = np.interp(np.arange(len(series)), np.arange(len(local)) + 0.5, local) / np.sqrt(2)
    return known


def _sizes_of_changes(changes: np.ndarray) -> np.ndarray:
    changes = changes - running_median(changes)
    wide = int(np.clip(len(changes) // 4, 7, 31)) | 1
    overall = max(float(np.median(np.abs(changes))) / QUANTILE, 1e-6)
    local = np.maximum(running_median(np.abs(changes), wide) / QUANTILE, LEAST_NOISE * overall)
    # Where the size falls in an unknown place, the median of what lies around it is too small before that.
    largest: np.ndarray = maximum_filter1d(local, wide, mode="nearest")
    return largest


def noise_of(series: np.ndarray) -> tuple[np.ndarray, float]:
    """Standard deviation of a series' noise at each point (n,), and its correlation from one point to the next.

    The quick estimate, for readings of a probe and the place of a peak; what a drop is held against is
    :func:`noise_in`. From changes less their running median, by medians and with outliers cut, so that a trend and a
    jump count little: with noise of order 1 the variance of changes is 2 s^2 (1 - rho), and the correlation of one
    change with the next is -(1 - rho) / 2. What detrending and scaling do to that correlation is undone by constants
    that were measured on simulated noise; in short series it stays too large, which makes the tests cautious. The size
    may differ along the series (it drops with the learning rate), the correlation not. n is at least 4.
    """
    changes = np.diff(series)
    changes = changes - running_median(changes)
    overall = float(np.sqrt(np.mean(np.square(changes))))
    local = np.maximum(running_median(np.abs(changes)) / QUANTILE, max(LEAST_NOISE * overall, 1e-9))
    scaled = np.clip(changes / local, -MOST_CHANGE, MOST_CHANGE)
    raw = 1 + 2 * np.mean(scaled[1:] * scaled[:-1]) / max(float(np.mean(np.square(scaled))), 1e-12)
    correlation = float(np.clip((raw - OFFSET) / FACTOR, 0, MOST_CORRELATION))
    local = np.interp(np.arange(len(series)), np.arange(len(local)) + 0.5, local)
    return local / np.sqrt(2 * (1 - correlation)), correlation


def running_median(values: np.ndarray, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """Median of the ``neighbours`` values (an odd number) around each (n,), or of all where they are fewer."""
    if len(values) <= neighbours:
        return np.full(len(values), np.median(values))
    padded = np.pad(values, neighbours // 2, mode="reflect")
    middle: np.ndarray = np.median(np.lib.stride_tricks.sliding_window_view(padded, neighbours), axis=1)
    return middle


def autoregressive(stream: np.random.Generator, n_draws: int, n: int, correlation: float | np.ndarray) -> np.ndarray:
    """Stationary normal noise of order 1 and unit variance (n_draws, n); one correlation, or one a draw (n_draws,)."""
    draws = stream.standard_normal((n_draws, n))
    fresh = np.sqrt(1 - np.square(correlation))
    for i in range(1, n):
        draws[:, i] = correlation * draws[:, i - 1] + fresh * draws[:, i]
    return draws


def breaks_in(series: np.ndarray, sizes: np.ndarray, steps: Sequence[int] = ()) -> list[int]:
    """Positions after which a curve steps: those known, ``MOST_STEPS`` at most, and jumps beyond noise of ``sizes``."""
    changes = np.diff(series)
    size = np.abs(changes - running_median(changes)) / (np.sqrt(2) * sizes[1:])
    first = len(series) / BEGINNING
    jumps = [int(i) for i in np.argsort(-size)[:MOST_JUMPS] if size[i] > JUMP and i > first]
    return sorted({*steps[:MOST_STEPS], *jumps})


def _restricted(series: np.ndarray, curves: np.ndarray, correlation: float) -> tuple[float, float]:
    """Restricted log-likelihood of a correlation, sizes profiled out, and the residual sum of squares."""
    n, p = curves.shape
    fresh = np.sqrt(1 - correlation**2)

    def whitened(rows: np.ndarray) -> np.ndarray:
        return np.concatenate([rows[:1], (rows[1:] - correlation * rows[:-1]) / fresh])

    y, (basis, triangle) = whitened(series), np.linalg.qr(whitened(curves))
    squares = max(float(np.square(y - basis @ (basis.T @ y)).sum()), 1e-12)
    determinant = (n - 1) * np.log(1 - correlation**2) / 2 + np.log(np.abs(np.diag(triangle))).sum()
    return float(-determinant - (n - p) / 2 * np.log(squares)), squares


def _curves(series: np.ndarray, sizes: np.ndarray, steps: Sequence[int]) -> np.ndarray:
    """Orthonormal columns (n, p) of the smooth curves that :func:`noise_in` names."""
    n = len(series)
    at = np.arange(n)
    columns = [np.ones(n), at / n]
    if n >= 20:
        columns += [np.exp(-(at + 1) / (n * rate)) for rate in (0.02, 0.06)]
    breaks = breaks_in(series, sizes, steps)
    for i in breaks:
        columns += [(at > i).astype(float), np.maximum(at - i, 0) / n]
        if n >= LEAST_BENT:
            columns.append(np.where(at > i, np.exp(-np.maximum(at - i, 0) / (n * BENT)), 0.0))
    weights = 1 / np.square(sizes)
    peak = int(nearest_unimodal(series, weights).argmax())
    near = n / 16
    if 1 < peak < n - max(2, n // 10) and all(abs(peak - i) > near for i in breaks):
        columns.append(np.maximum(at - peak, 0) / n)
    n_knots = n // SPACING
    knots = np.linspace(0, n - 1, n_knots + 2)[1:-1]
    columns += [np.maximum(at - knot, 0) / n for knot in knots if all(abs(knot - i) > near for i in breaks)]
    basis, triangle = np.linalg.qr(np.stack(columns, axis=1))
    independent: np.ndarray = basis[:, np.abs(np.diag(triangle)) > 1e-8]
    return independent[:, : n - 3]
