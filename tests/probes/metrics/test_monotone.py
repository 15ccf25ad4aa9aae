"""Rising and rising-then-falling curves, beside isotonic regressions of scipy and a search over all modes."""

import numpy as np
import pytest
from scipy.optimize import isotonic_regression

from overfit_lab.probes.metrics.monotone import _rising, flattened, nearest_unimodal, split_costs, unimodal


def brute_curve(curve, weights, split):
    rising = isotonic_regression(curve[: split + 1], weights=weights[: split + 1]).x
    after = curve[split + 1 :]
    falling = isotonic_regression(after, weights=weights[split + 1 :], increasing=False).x if len(after) else after
    return np.concatenate([rising, falling])


def brute_cost(curve, weights, split):
    return float((weights * np.square(curve - brute_curve(curve, weights, split))).sum())


def test_costs_and_curves_are_those_of_isotonic_regressions_on_either_side():
    stream = np.random.default_rng(0)
    curves, weights = stream.normal(size=(5, 17)), stream.uniform(0.2, 3, 17)
    costs = split_costs(curves, weights)
    for i, curve in enumerate(curves):
        np.testing.assert_allclose(split_costs(curve[None], weights)[0], costs[i], atol=1e-9)
        for split in range(17):
            assert costs[i, split] == pytest.approx(brute_cost(curve, weights, split), abs=1e-9)
            fit = unimodal(curve, weights, split)
            assert fit == pytest.approx(brute_curve(curve, weights, split), abs=1e-9)
            assert (np.diff(fit[: split + 1]) >= 0).all()
            assert (np.diff(fit[split + 1 :]) <= 0).all()


@pytest.mark.parametrize("n", [1, 2, 3, 10, 40])
def test_the_nearest_curve_is_the_best_of_all_modes(n):
    stream = np.random.default_rng(n)
    for _ in range(5):
        at = np.arange(n)
        series = -np.abs(at - stream.uniform(0, n)) / n + 0.2 * stream.normal(size=n)
        weights = stream.uniform(0.2, 3, n)
        least = min(brute_cost(series, weights, split) for split in range(n))
        fit = nearest_unimodal(series, weights)
        assert float((weights * np.square(series - fit)).sum()) == pytest.approx(least, abs=1e-9)
        assert fit.shape == (n,)


def test_a_rising_curve_is_the_isotonic_regression_with_weights_and_ties():
    stream = np.random.default_rng(0)
    for n in (1, 2, 7, 80):
        for series in (stream.normal(size=n), stream.integers(0, 4, n).astype(float)):
            weights = stream.uniform(0.1, 5, n)
            assert _rising(series, weights) == pytest.approx(isotonic_regression(series, weights=weights).x, abs=1e-9)


def test_equal_values_are_pooled_and_no_value_gives_no_curve():
    assert _rising(np.array([1.0, 1.0, 0.0, 3.0]), np.ones(4)).tolist() == pytest.approx([2 / 3] * 3 + [3.0])
    assert _rising(np.zeros(0), np.zeros(0)).shape == (0,)


def test_the_flattened_curve_fits_worse_by_what_is_allowed():
    curve = np.concatenate([np.arange(10.0), np.arange(8.0, -1, -1)])
    cut = flattened(curve, curve, np.ones(19), 3.84)
    assert (np.square(cut - curve)).sum() == pytest.approx(3.84, abs=1e-5)
    assert cut.max() < curve.max()
    np.testing.assert_array_equal(cut[curve < cut.max()], curve[curve < cut.max()])
    np.testing.assert_allclose(flattened(curve, curve, np.ones(19), 0.0), curve, atol=1e-4)
