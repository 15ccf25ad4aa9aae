"""The peak past which an accuracy falls, on curves whose peak is known."""

import numpy as np
import pytest
from scipy.stats import binom

from overfit_lab.probes.metrics.unimodal import LEVEL, peak_of
from simulated_curves import accuracies

SEEDS = range(200)


def test_without_noise_the_peak_is_the_peak():
    epochs = np.arange(2, 62, 2)
    found = peak_of(epochs, 0.5 - 0.004 * np.abs(epochs - 24))
    assert (found.epoch, found.height) == (24, pytest.approx(0.5))
    assert found.low <= 24 <= found.high


def test_an_early_outlier_is_no_peak():
    """A maximum among the large noise before the decay; the field's plain maximum would take it."""
    stream = np.random.default_rng(1)
    epochs = np.arange(1, 61)
    accuracy = np.where(epochs <= 30, 0.45, 0.52 - 0.003 * (epochs - 30))
    accuracy += np.where(epochs <= 30, 0.03, 0.004) * stream.normal(size=60)
    accuracy[7] = 0.56
    found = peak_of(epochs, accuracy)
    assert epochs[accuracy.argmax()] == 8
    assert abs(found.epoch - 31) <= 2
    assert found.low > 20


def test_of_equal_evaluations_the_first_is_the_peak():
    epochs = np.arange(1, 31)
    accuracy = 0.5 - 0.005 * np.abs(epochs - 15.5)
    assert peak_of(epochs, accuracy).epoch == 15


def test_too_few_evaluations_and_none_finite_have_no_peak():
    assert peak_of(np.arange(9.0), np.linspace(0, 1, 9)) is None
    assert peak_of(np.arange(30.0), np.full(30, np.nan)) is None


def test_numbers_that_are_not_finite_are_passed_over_and_answers_repeat():
    epochs = np.arange(1, 41)
    accuracy = 0.5 - 0.004 * np.abs(epochs - 20) + 0.004 * np.random.default_rng(3).normal(size=40)
    holes = accuracy.copy()
    holes[[2, 30]] = np.nan
    kept = np.isfinite(holes)
    assert peak_of(epochs, holes) == peak_of(epochs[kept], accuracy[kept])
    assert peak_of(epochs, accuracy) == peak_of(epochs, accuracy)


@pytest.mark.parametrize(
    ("n", "shape", "correlation", "bias"), [(50, "line", 0.0, 1.0), (50, "fast", 0.5, 0.5), (25, "slow", 0.3, 1.5)]
)
def test_peaks_of_noisy_curves_are_near_and_intervals_cover(n, shape, correlation, bias):
    """Of 200 curves as many intervals hold the peak as their level promises (less would come with probability .005)."""
    errors, covered = [], 0
    for seed in SEEDS:
        stream = np.random.default_rng(seed)
        epochs, _, test, _, onset = accuracies("overfits", n, stream, correlation=correlation, shape=shape)
        found = peak_of(epochs, test, seed)
        errors.append(found.epoch - onset)
        covered += found.low <= onset <= found.high
    assert abs(np.mean(errors)) <= bias
    assert np.quantile(np.abs(errors), 0.75) <= 2
    assert covered >= binom.ppf(0.005, len(SEEDS), LEVEL)


def test_noise_before_the_decay_does_not_move_a_peak_after_it():
    """Ten times the noise before the decay: without weights it would decide the fit."""
    errors = []
    for seed in range(20):
        stream = np.random.default_rng(seed)
        epochs = np.arange(1, 81)
        accuracy = np.where(epochs <= 40, 0.5, 0.51 - 0.001 * np.abs(epochs - 60))
        accuracy += np.where(epochs <= 40, 0.02, 0.002) * stream.normal(size=80)
        errors.append(abs(peak_of(epochs, accuracy).epoch - 60))
    assert np.median(errors) <= 3
    assert np.quantile(errors, 0.8) <= 6
