"""Size and correlation of the noise of a number over evaluations, beside dense computations and known noise."""

import numpy as np
import pytest
import scipy.linalg

from overfit_lab.probes.metrics.noise import (
    CORRELATIONS,
    _curves,
    _restricted,
    aligned,
    autoregressive,
    breaks_in,
    local_sizes,
    noise_in,
    noise_of,
    without_bad,
)
from simulated_curves import ar_noise

SEEDS = range(40)


def curve(n):
    """Rises, steps by 6 points at half of the run, and falls a little."""
    at = np.arange(n)
    return 0.5 * (1 - np.exp(-at / (0.06 * n))) + 0.06 * (at > n // 2) - 0.05 * np.maximum(at - 0.6 * n, 0) / n


def noises(n, correlation, sizes):
    step = n // 2
    return [noise_in(curve(n) + ar_noise(np.random.default_rng(s), n, correlation, sizes), [step]) for s in SEEDS]


@pytest.mark.parametrize("n", [50, 200])
def test_independent_noise_has_its_size_and_no_correlation(n):
    found = noises(n, 0.0, 0.01)
    assert np.mean([part.errors.mean() for part in found]) == pytest.approx(0.01, rel=0.1)
    assert np.mean([part.correlation for part in found]) < 0.12


@pytest.mark.parametrize(("correlation", "low", "high", "rel"), [(0.5, 0.4, 0.75, 0.5), (0.9, 0.8, 0.95, 0.5)])
def test_correlated_noise_has_its_size_and_its_correlation(correlation, low, high, rel):
    """Rather too large than too small, by the prior: noise taken for less correlated makes false alarms."""
    found = noises(200, correlation, 0.01)
    assert low < np.mean([part.correlation for part in found]) < high
    assert np.mean([part.errors.mean() for part in found]) == pytest.approx(0.01, rel=rel)
    assert np.median([part.errors.mean() for part in found]) > 0.009


def test_what_a_short_series_leaves_unknown_stays_unknown():
    """Ten evaluations hold strong correlations possible, two hundred of independent noise do not."""
    short, long = (noise_in(ar_noise(np.random.default_rng(0), n, 0.0, 0.01)) for n in (10, 200))
    assert short.weights[CORRELATIONS >= 0.5].sum() > 0.3
    assert long.weights[CORRELATIONS >= 0.5].sum() < 0.01
    assert short.weights.sum() == pytest.approx(1)
    assert short.freedom < 10


def test_noise_that_differs_along_the_series_is_known_on_either_side_of_the_step():
    n = 100
    sizes = np.where(np.arange(n) <= n // 2, 0.02, 0.004)
    found = np.mean([part.errors for part in noises(n, 0.0, sizes)], axis=0)
    assert found[: n // 2].mean() == pytest.approx(0.02, rel=0.25)
    assert found[n // 2 + 1 :].mean() == pytest.approx(0.004, rel=0.35)
    local = np.mean([local_sizes(ar_noise(np.random.default_rng(s), n, 0.0, sizes), [n // 2]) for s in SEEDS], axis=0)
    assert local[: n // 2].mean() / local[n // 2 + 1 :].mean() == pytest.approx(5, rel=0.25)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.95])
def test_the_restricted_likelihood_is_that_of_dense_matrices(correlation):
    """Harville's formula with the whole covariance matrix, the variance profiled out."""
    n = 60
    series, columns = ar_noise(np.random.default_rng(1), n, 0.5, 0.01) + curve(n), _curves(curve(n), np.ones(n), [30])
    covariance = scipy.linalg.toeplitz(correlation ** np.arange(n))
    inverse = scipy.linalg.inv(covariance)
    information = columns.T @ inverse @ columns
    fit = scipy.linalg.solve(information, columns.T @ inverse @ series)
    rest = series - columns @ fit
    squares = float(rest @ inverse @ rest)
    p = columns.shape[1]
    halves = np.linalg.slogdet(covariance)[1] + np.linalg.slogdet(information)[1]
    likelihood = -halves / 2 - (n - p) / 2 * np.log(squares)
    assert _restricted(series, columns, correlation) == pytest.approx((likelihood, squares), rel=1e-8, abs=1e-12)


def dense(noise):
    return np.outer(noise.errors, noise.errors) * scipy.linalg.toeplitz(
        noise.correlation ** np.arange(len(noise.sizes))
    )


def test_the_error_of_a_contrast_is_the_dense_quadratic_form():
    n, stream = 80, np.random.default_rng(2)
    noise = noise_in(ar_noise(stream, n, 0.7, np.where(np.arange(n) < 40, 0.02, 0.01)), [39])
    contrasts = stream.normal(size=(7, n))
    assert noise.error_of(contrasts) == pytest.approx(
        np.sqrt(np.einsum("ij,jk,ik->i", contrasts, dense(noise), contrasts)), rel=1e-10
    )


@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.9])
def test_draws_of_order_one_have_the_stated_covariance(correlation):
    draws = autoregressive(np.random.default_rng(0), 40_000, 6, correlation)
    np.testing.assert_allclose(np.cov(draws.T), scipy.linalg.toeplitz(correlation ** np.arange(6)), atol=0.03)


def test_draws_of_noise_mix_what_is_known_of_correlation_and_size():
    """The covariance of draws is the mean over the posterior; a size of few degrees of freedom has heavy tails."""
    n = 30
    noise = noise_in(ar_noise(np.random.default_rng(3), n, 0.5, 0.01))
    draws = noise.draws(np.random.default_rng(0), 100_000)
    lags = np.arange(n)
    scale = noise.squares / (noise.freedom - 2)
    expected = sum(
        w * s * scipy.linalg.toeplitz(r**lags) for w, s, r in zip(noise.weights, scale, CORRELATIONS, strict=True)
    )
    expected = expected * np.outer(noise.sizes, noise.sizes)
    assert np.abs(np.cov(draws.T) - expected).max() < 0.05 * expected.max()
    again = noise.draws(np.random.default_rng(0), 100)
    np.testing.assert_array_equal(again, noise.draws(np.random.default_rng(0), 100))


@pytest.mark.parametrize("length", [1, 2])
def test_bad_epochs_are_replaced_by_their_neighbours(length):
    series = 0.5 + ar_noise(np.random.default_rng(0), 60, 0.0, 0.005)
    broken = series.copy()
    broken[30 : 30 + length] = 0.2
    clean = without_bad(broken)
    assert np.abs(clean[30 : 30 + length] - 0.5).max() < 0.01
    others = np.r_[0:30, 30 + length : 60]
    np.testing.assert_array_equal(clean[others], series[others])
    assert (broken[30 : 30 + length] == 0.2).all()  # the caller's array is untouched


def test_three_bad_epochs_in_a_row_and_peaks_stay():
    series = 0.5 + ar_noise(np.random.default_rng(0), 60, 0.0, 0.005)
    three, peak = series.copy(), series.copy()
    three[30:33], peak[30] = 0.2, 0.8
    np.testing.assert_array_equal(without_bad(three), three)
    np.testing.assert_array_equal(without_bad(peak), peak)


def test_a_bad_epoch_at_either_end():
    """The first evaluations rise, so that a low one is no bad epoch; the last one may be one."""
    series = 0.5 + ar_noise(np.random.default_rng(0), 60, 0.0, 0.005)
    first, last = series.copy(), series.copy()
    first[0], last[-1] = 0.1, 0.1
    assert without_bad(first)[0] == 0.1
    assert without_bad(last)[-1] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("step", [28, 29, 30])
def test_a_step_moves_to_the_change_beside_it(step):
    series = np.where(np.arange(60) > 29, 0.6, 0.5) + ar_noise(np.random.default_rng(0), 60, 0.0, 0.002)
    assert aligned(series, [step]) == [29]


def test_a_step_farther_off_stays_near_and_steps_that_meet_are_one():
    series = np.where(np.arange(60) > 29, 0.6, 0.5)
    assert abs(aligned(series, [40])[0] - 40) <= 1
    assert aligned(series, [29, 30]) == [29]
    assert aligned(series, []) == []


def test_a_jump_beyond_noise_is_a_break_and_noise_is_none():
    series = np.where(np.arange(60) > 29, 0.6, 0.5) + ar_noise(np.random.default_rng(0), 60, 0.0, 0.004)
    assert breaks_in(series, np.full(60, 0.004)) == [29]
    assert breaks_in(series, np.full(60, 0.05)) == []
    assert breaks_in(series, np.full(60, 0.004), [10]) == [10, 29]


@pytest.mark.parametrize("values", [np.full(12, 0.5), np.linspace(0.1, 0.5, 12), np.full(100, 0.3)])
def test_series_without_noise_have_numbers(values):
    noise = noise_in(values)
    assert np.isfinite(noise.errors).all()
    assert (noise.errors > 0).all()
    assert noise.errors.max() < 1e-3
    assert np.isfinite(noise.draws(np.random.default_rng(0), 5)).all()


@pytest.mark.parametrize("correlation", [0.0, 0.4, 0.7])
def test_the_quick_estimate_has_size_and_correlation_beside_a_trend_and_a_jump(correlation):
    sizes, correlations = [], []
    for seed in SEEDS:
        values = ar_noise(np.random.default_rng(seed), 200, correlation, 0.01)
        size, found = noise_of(values + 0.003 * np.arange(200) + 0.1 * (np.arange(200) > 100))
        sizes.append(np.median(size))
        correlations.append(found)
    assert np.mean(sizes) == pytest.approx(0.01, rel=0.3)
    assert abs(np.mean(correlations) - correlation) < 0.2
