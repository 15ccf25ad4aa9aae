"""What holds for the interval of a share, first of all that it covers as often as it says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cases import steady
from overfit_lab.probes.metrics.proportion import LEVEL, interval

levels = st.floats(0.05, 0.999)


@st.composite
def counts(draw, most=400):
    n = draw(st.integers(1, most))
    return draw(st.integers(0, n)), n


@steady
@given(counts(), levels)
def test_it_lies_around_the_share_within_zero_and_one(case, level):
    k, n = case
    low, high = interval(k, n, level)
    assert 0 <= low <= k / n <= high <= 1
    assert low < high
    assert (low == 0) == (k == 0)
    assert (high == 1) == (k == n)


@steady
@given(counts(), levels)
def test_it_is_that_of_the_beta_distribution(case, level):
    k, n = case
    tail = (1 - level) / 2
    low = stats.beta.ppf(tail, k, n - k + 1) if k else 0.0
    high = stats.beta.ppf(1 - tail, k + 1, n - k) if k < n else 1.0
    assert interval(k, n, level) == pytest.approx((low, high), abs=1e-9)


@steady
@given(counts(), levels)
def test_failures_have_the_mirrored_interval(case, level):
    k, n = case
    low, high = interval(k, n, level)
    assert interval(n - k, n, level) == pytest.approx((1 - high, 1 - low), abs=1e-9)


@steady
@given(counts(), levels, levels)
def test_a_higher_level_has_an_interval_around_that_of_a_lower_one(case, one, other):
    inner, outer = interval(*case, min(one, other)), interval(*case, max(one, other))
    assert outer[0] <= inner[0] + 1e-9
    assert inner[1] <= outer[1] + 1e-9
    if abs(one - other) > 0.01:
        assert np.diff(outer) > np.diff(inner)


@steady
@given(counts(100), levels, st.integers(2, 20))
def test_more_samples_with_the_same_share_have_a_shorter_one(case, level, times):
    k, n = case
    assert np.diff(interval(k * times, n * times, level)) < np.diff(interval(k, n, level))


@steady
@given(counts(100), levels)
def test_one_success_more_moves_both_bounds_up(case, level):
    k, n = case
    if k < n:
        assert all(b > a for a, b in zip(interval(k, n, level), interval(k + 1, n, level), strict=True))


@pytest.mark.parametrize("level", [0.5, 0.9, LEVEL, 0.99])
@pytest.mark.parametrize("n", [1, 2, 7, 30, 100])
def test_it_covers_the_truth_as_often_as_it_says(n, level):
    """The exact probability, summed over all counts; the worst truths lie just outside of a bound."""
    bounds = np.array([interval(k, n, level) for k in range(n + 1)])
    step = 1e-7
    truths = np.concatenate([np.linspace(0, 1, 41), bounds[1:, 0] - step, bounds[:-1, 1] + step])
    for p in truths[(truths >= 0) & (truths <= 1)]:
        covers = (bounds[:, 0] <= p) & (p <= bounds[:, 1])
        assert stats.binom.pmf(np.arange(n + 1), n, p)[covers].sum() >= level - 1e-5
