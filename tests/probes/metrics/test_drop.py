"""The drop of an accuracy: coverage, false alarms and power on curves whose drop is known, and its parts."""

from functools import lru_cache

import numpy as np
import pytest
from scipy.stats import binom

from overfit_lab.probes.metrics.drop import (
    END,
    LEVEL_BEFORE,
    N_KINKS,
    TAIL,
    TOP,
    WIDTHS,
    DropTest,
    _lines,
    _Readings,
    _variance_of_mean,
    drop_of,
    width_for,
)
from overfit_lab.probes.metrics.noise import CORRELATIONS, Noise
from simulated_curves import ar_noise

N_TEST = 1000


def curve(n, drop):
    """A rise, a step at half of the run and, a tenth later, a fall in a line to ``drop`` below the best."""
    at = np.arange(1, n + 1)
    decay, onset = n // 2, n // 2 + max(1, n // 10)
    rise = 0.5 * (1 - np.exp(-at / (0.06 * n))) + 0.06 * (at > decay)
    return rise - drop * np.clip((at - onset) / (n - onset), 0, 1), decay - 1


def true_drop(values):
    return float(values.max() - values[-1])


def noisy(values, decay, kind, stream):
    n = len(values)
    if kind == "binomial":
        return stream.binomial(N_TEST, np.clip(values, 0, 1)) / N_TEST
    if kind == "step":
        return values + ar_noise(stream, n, 0.3, np.where(np.arange(n) <= decay, 0.033, 0.007))
    return values + ar_noise(stream, n, float(kind), 0.01)


def series_of(n, drop, kind, seed):
    values, decay = curve(n, drop)
    return noisy(values, decay, kind, np.random.default_rng(seed)), decay, true_drop(values)


CELLS = [
    (10, 0.10, "0.9"),
    (50, 0.0, "0.9"),
    (50, 0.03, "step"),
    (200, 0.03, "binomial"),
    (200, 0.10, "0.9"),
]
N_COVERAGE = 60


@pytest.mark.parametrize(("n", "drop", "kind"), CELLS)
def test_the_interval_covers_the_true_drop(n, drop, kind):
    """Fewer than the limit of 60 would come with probability .005 at 90%."""
    covered = 0
    for seed in range(N_COVERAGE):
        series, decay, truth = series_of(n, drop, kind, seed)
        found = drop_of(np.arange(n), series, [decay], seed)
        assert 0 <= found.low <= found.least <= found.value <= found.high
        covered += found.low - 1e-9 <= truth <= found.high + 1e-9
    assert covered >= binom.ppf(0.005, N_COVERAGE, 0.9)


N_ALARMS = 100


@pytest.mark.parametrize("correlation", ["0.5", "0.9"])
@pytest.mark.parametrize("n", [50, 100])
def test_false_alarms_are_at_most_five_in_a_hundred(n, correlation):
    """More than the limit would come with probability .005 at 5%. An alarm is a lower end above 0."""
    alarms = 0
    for seed in range(N_ALARMS):
        series, decay, _ = series_of(n, 0.0, correlation, 1000 + seed)
        alarms += DropTest(series, [decay], seed).p(0.0) <= TAIL
    assert alarms <= binom.ppf(0.995, N_ALARMS, 0.05)


def test_five_points_on_a_thousand_samples_and_fifty_evaluations_are_found():
    """Independent binomial noise; fewer than the limit of 200 would come with probability .005 at 90%."""
    n, found = 50, 0
    at = np.arange(1, n + 1)
    values = 0.5 - 0.25 * np.exp(-at / 3) + 0.06 * (at > 25) - 0.05 * np.clip((at - 25) / 25, 0, 1)
    for seed in range(200):
        series = noisy(values, 24, "binomial", np.random.default_rng(seed))
        found += DropTest(series, [24], seed).p(0.0) <= TAIL
    assert found >= binom.ppf(0.005, 200, 0.9)


def test_the_luck_of_a_maximum_is_no_drop():
    """Best minus final of a level accuracy is two points here by luck alone; corrected it is near 0."""
    raw, corrected, alarms = [], [], 0
    for seed in range(40):
        found = drop_of(np.arange(60), 0.5 + ar_noise(np.random.default_rng(seed), 60, 0.0, 0.02), (), seed)
        raw.append(found.raw)
        corrected.append(found.value)
        alarms += found.low > 0
    assert np.mean(raw) > 0.018
    assert alarms <= binom.ppf(0.995, 40, 0.05)
    assert np.mean(corrected) < np.mean(raw) / 2


@pytest.mark.parametrize("n", [20, 40, 150])
def test_a_curve_without_noise_gives_its_own_drop(n):
    at = np.arange(n)
    for drop in (0.05, 0.15):
        found = drop_of(at, 0.5 - drop * np.clip((at - n // 2) / (n - 1 - n // 2), 0, 1))
        assert found.value == pytest.approx(drop, rel=0.15)
        assert found.low > 0.5 * drop
        assert found.high < 1.7 * drop
    level = drop_of(at, np.full(n, 0.5))
    assert (level.low, level.value) == (0, pytest.approx(0, abs=1e-4))
    assert level.high < 1e-3


@pytest.mark.parametrize("n", [10, 13, 40, 60, 200])
def test_a_curve_that_rises_or_stays_without_noise_has_no_significant_drop(n):
    """Rounding once made a line that rises by a thousandth an evaluation fall at p = .0025."""
    for series in (0.4 + np.arange(1, n + 1) / 1000, np.full(n, 1 / 3), 0.5 - 0.3 * np.exp(-np.arange(n) / 7)):
        found = drop_of(np.arange(n), series)
        assert found.p > 0.05
        assert (found.low, found.least) == (0, 0)


def test_the_end_of_one_bad_epoch_is_no_drop():
    series = 0.5 + ar_noise(np.random.default_rng(5), 60, 0.0, 0.005)
    series[-1] = 0.2
    found = drop_of(np.arange(60), series)
    assert found.low == 0
    assert found.p > 0.3
    assert found.value < 0.012
    assert found.high < 0.03


def test_the_share_of_simulated_curves_grows_with_the_drop_and_the_ends_are_its_quantiles():
    series, decay, _ = series_of(50, 0.05, "0.5", 3)
    test = DropTest(series, [decay], 1)
    shares = [test.p(drop) for drop in np.linspace(0, 0.15, 16)]
    assert (np.diff(shares) >= -0.02).all()
    low = test.lower(0.05)
    assert test.p(max(0.0, low - 0.005)) <= 0.06
    assert test.p(low + 0.005) >= 0.04
    assert test.lower(0.05) <= test.lower(0.5) <= test.upper(0.5) + 1e-3


def test_the_same_seed_gives_the_same_drop_and_the_series_is_untouched():
    series, decay, _ = series_of(50, 0.05, "0.5", 3)
    before = series.copy()
    assert drop_of(np.arange(50), series, [decay], 7) == drop_of(np.arange(50), series, [decay], 7)
    np.testing.assert_array_equal(series, before)
    other = drop_of(np.arange(50), series, [decay], 8)
    assert other.value == pytest.approx(drop_of(np.arange(50), series, [decay], 7).value, abs=0.01)


@pytest.mark.parametrize("change", [0.02, 0.08])
def test_a_curve_with_a_drop_has_just_that_drop(change):
    series, decay, _ = series_of(50, 0.04, "0.5", 0)
    test = DropTest(series, [decay])
    for base in (test.sharp, test.flat):
        assert true_drop(test._with_drop(base, change)) == pytest.approx(change, abs=1e-9)
        assert true_drop(test._with_drop(base, 0.0)) == pytest.approx(0, abs=1e-9)


# the readings


@lru_cache
def noise_with(n, correlation):
    weights = (CORRELATIONS[np.abs(CORRELATIONS - correlation).argmin()] == CORRELATIONS).astype(float)
    sizes = np.where(np.arange(n) < n // 2, 0.02, 0.01)
    return Noise(sizes, weights, np.full(len(CORRELATIONS), float(n - 5)), n - 5)


@pytest.mark.parametrize("n", [10, 23, 60, 200])
def test_levels_are_those_of_a_loop(n):
    readings = _Readings(noise_with(n, 0.5))
    curves = np.random.default_rng(0).normal(size=(3, n))
    tops, ends, _ = readings.of(curves)
    for i, values in enumerate(curves):
        means = [values[j : j + w].mean() for w in WIDTHS if w <= n * TOP for j in range(0, n - w + 1, max(1, w // 2))]
        assert tops[i] == pytest.approx(means)
        assert ends[i] == pytest.approx([values[-w:].mean() for w in WIDTHS if w <= max(n * END, 3)])


@pytest.mark.parametrize("n", [10, 23, 60, 200])
def test_lines_are_least_squares_beside_a_loop(n):
    """A level up to the kink and a line from it to the end; the reading is what the line goes down."""
    errors = noise_with(n, 0.5).errors
    series = np.random.default_rng(0).normal(size=n)
    at, expected = np.arange(n), []
    for share in LEVEL_BEFORE:
        for kink in range(0, n - max(3, n // 10), max(1, n // N_KINKS)):
            inside = at >= kink - int(share * n)
            columns = np.stack([np.ones(n), np.maximum(at - kink, 0.0)], axis=1)[inside] / errors[inside, None]
            slope = np.linalg.lstsq(columns, series[inside] / errors[inside], rcond=None)[0][1]
            expected.append(-slope * (n - 1 - kink))
    assert _lines(errors) @ series == pytest.approx(expected, rel=1e-8, abs=1e-10)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.95])
def test_the_variance_of_a_mean_is_that_of_its_matrix(correlation):
    for width in WIDTHS:
        lags = np.abs(np.subtract.outer(np.arange(width), np.arange(width)))
        assert _variance_of_mean(width, correlation) == pytest.approx((correlation**lags).mean())


def test_the_statistic_is_the_largest_reading_less_its_caution():
    readings = _Readings(noise_with(40, 0.3))
    curves = np.random.default_rng(0).normal(size=(5, 40))
    tops, ends, lines = readings.of(curves)
    top, end, line = readings.off
    for i in range(5):
        levels = [a - x - (b + y) for a, x in zip(tops[i], top, strict=True) for b, y in zip(ends[i], end, strict=True)]
        least = max(max(levels), max(a - x for a, x in zip(lines[i], line, strict=True)))
        assert readings.statistic((tops, ends, lines))[i] == pytest.approx(least, abs=1e-6)


def test_widths_of_levels_are_odd_and_small():
    assert [width_for(n) for n in (10, 19, 20, 60, 100, 200, 500)] == [1, 1, 1, 3, 5, 9, 9]
