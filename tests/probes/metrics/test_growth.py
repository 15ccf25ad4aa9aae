"""Growth of a number between two stages, beside the noise of its readings."""

import numpy as np
import pytest
from scipy.stats import binom, t

from overfit_lab.probes.metrics.growth import LEAST_READINGS, growth_of, stages
from overfit_lab.probes.metrics.noise import noise_of
from simulated_curves import ar_noise

EPOCHS = np.arange(5.0, 105.0, 5)


def test_the_stationary_stage_lies_between_decay_and_onset_and_late_is_a_third_of_the_rest():
    early, late, before = stages(EPOCHS, onset=60, first_decay=50)
    assert EPOCHS[early].tolist() == [55, 60]
    assert EPOCHS[late].tolist() == [90, 95, 100]
    assert EPOCHS[before].tolist() == list(range(5, 55, 5))


def test_without_a_reading_between_decay_and_onset_the_first_after_the_decay_is_early():
    early, _, _ = stages(EPOCHS, onset=53, first_decay=50)
    assert EPOCHS[early].tolist() == [55]


def test_an_onset_before_the_decay_sets_the_decay_aside():
    early, _, before = stages(EPOCHS, onset=20, first_decay=50)
    assert EPOCHS[early].tolist() == [5, 10, 15, 20]
    assert not len(before)


def test_without_an_onset_the_first_third_is_early():
    early, late, _ = stages(EPOCHS, onset=None, first_decay=None)
    assert EPOCHS[early].tolist() == [5, 10, 15, 20, 25, 30]
    assert not set(early) & set(late)


def test_too_few_readings_or_none_late_give_none():
    assert growth_of(EPOCHS[:5], np.ones(5)) is None
    assert len(EPOCHS[:5]) < LEAST_READINGS
    assert growth_of(EPOCHS, np.ones(20), onset=100, first_decay=None) is None
    assert growth_of(EPOCHS, np.full(20, np.nan)) is None


def test_numbers_are_means_of_the_stages():
    values = np.where(EPOCHS <= 50, 3.0, np.where(EPOCHS <= 60, 1.0, 2.0))
    found = growth_of(EPOCHS, values, onset=60, first_decay=50)
    assert (found.early, found.late, found.change, found.before) == (1.0, 2.0, 1.0, 3.0)
    assert (found.early_epochs, found.late_epochs) == ((55, 60), (90, 100))


def test_a_reading_that_is_not_finite_is_passed_over():
    values = np.linspace(0, 1, 20)
    values[-1] = np.nan
    assert growth_of(EPOCHS, values, onset=60).late_epochs[1] == 95


@pytest.mark.parametrize(("count", "correlation"), [(10, 0.0), (10, 0.5), (20, 0.0), (20, 0.5)])
def test_noise_is_seldom_taken_for_growth(count, correlation):
    """One side of a 95% interval, 2.5%; correlated noise in a few readings may double that, not more."""
    alarms = 0
    for seed in range(400):
        epochs = np.arange(1, count + 1) * 5.0
        values = ar_noise(np.random.default_rng(seed), count, correlation, 0.2) + 0.5 * (epochs <= 10)
        found = growth_of(epochs, values, onset=20, first_decay=10)
        alarms += found.change > t.ppf(0.975, found.freedom) * found.stderr
    assert alarms <= binom.ppf(0.995, 400, 0.025 if correlation == 0 else 0.05)


def test_growth_of_four_times_the_noise_is_found():
    found = 0
    for seed in range(100):
        values = ar_noise(np.random.default_rng(seed), 20, 0.3, 0.1) + 0.4 * np.clip((EPOCHS - 55) / 40, 0, 1)
        growth = growth_of(EPOCHS, values, onset=60, first_decay=30)
        found += growth.change > t.ppf(0.975, growth.freedom) * growth.stderr
    assert found >= 70


def test_the_standard_error_holds_the_correlation_of_the_noise():
    values = ar_noise(np.random.default_rng(0), 20, 0.7, 0.2)
    noise, correlation = noise_of(values)
    assert correlation > 0.1
    found = growth_of(EPOCHS, values, onset=60, first_decay=50)
    weight = np.zeros(20)
    weight[[10, 11]], weight[[17, 18, 19]] = -1 / 2, 1 / 3
    pairs = [(i, j) for i in range(20) for j in range(20)]
    variance = sum(weight[i] * weight[j] * noise[i] * noise[j] * correlation ** abs(i - j) for i, j in pairs)
    assert found.stderr == pytest.approx(np.sqrt(variance))


def test_a_ratio_is_that_of_geometric_means_with_its_error_and_passes_over_what_has_no_logarithm():
    values = np.where(EPOCHS <= 60, 2.0, 6.0) * np.exp(0.1 * np.sin(7.0 * EPOCHS))
    found = growth_of(EPOCHS, values, onset=60, first_decay=50, logarithm=True)
    ratio, error = found.ratio
    assert ratio == pytest.approx(np.exp(np.log(values[-3:]).mean() - np.log(values[10:12]).mean()))
    assert error == pytest.approx(ratio * found.stderr)
    with_zero = growth_of([1.0, *EPOCHS], np.array([0.0, *values]), onset=60, first_decay=50, logarithm=True)
    assert with_zero == found
