"""The tests for robust overfitting on curves whose truth is known, and on the reference runs."""

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import isotonic_regression
from scipy.stats import binom

from overfit_lab.probes.metrics import phases as module
from overfit_lab.probes.metrics.phases import (
    _never_falling,
    decays_of,
    fall_of,
    noise_of,
    onset_of,
    phases,
)
from overfit_lab.records.reader import Run

REFERENCE = Path(__file__).parents[3] / "runs" / "reference"
SEEDS = range(200)


def noise(stream, n, correlation, size):
    values = stream.normal(size=n)
    for i in range(1, n):
        values[i] = correlation * values[i - 1] + np.sqrt(1 - correlation**2) * values[i]
    return size * values


def curves(seed, n, kind, *, correlation=0.0, size=0.008, jump=0.03):
    """Epochs, robust train and test accuracy, decay (with a step of the gap) and onset; less noise after the decay."""
    stream = np.random.default_rng(seed)
    epochs = np.arange(1, n + 1)
    decay, onset = n // 2, n // 2 + n // 10
    late = np.maximum(epochs - onset, 0) / (n - onset)
    test = 0.5 * (1 - np.exp(-epochs / (0.06 * n))) + 0.06 * (epochs > decay)
    train = test + 0.03 + jump * (epochs > decay)
    train += 0.25 * late * (kind != "level")
    test -= 0.10 * late * (kind == "overfits")
    sizes = np.where(epochs <= decay, 2 * size, size)
    return (
        epochs,
        train + noise(stream, n, correlation, sizes),
        test + noise(stream, n, correlation, sizes),
        decay,
        onset,
    )


def count_alarms(kind, n, correlation):
    found = 0
    for seed in SEEDS:
        epochs, train, test, decay, _ = curves(seed, n, kind, correlation=correlation)
        found += phases(epochs, train, test, decays=[decay], seed=seed).overfits
    return found


@pytest.mark.parametrize(
    ("kind", "n", "correlation"), [("level", 100, 0.3), ("gap grows", 50, 0.0), ("gap grows", 100, 0.3)]
)
def test_false_alarms_are_no_more_than_the_level_promises(kind, n, correlation):
    """A gap that grows while test accuracy stays is none. More than the limit come with probability .005 at .05."""
    assert count_alarms(kind, n, correlation) <= binom.ppf(0.995, len(SEEDS), module.ALPHA)


@pytest.mark.parametrize(("n", "correlation"), [(50, 0.0), (100, 0.3)])
def test_overfitting_of_ten_points_is_seldom_missed(n, correlation):
    assert count_alarms("overfits", n, correlation) >= 0.9 * len(SEEDS)


def test_the_onset_of_a_clear_curve_is_found_within_two_epochs_and_its_interval_covers():
    errors, covered = [], 0
    for seed in SEEDS:
        epochs, train, test, decay, onset = curves(seed, 100, "overfits", correlation=0.2)
        found = phases(epochs, train, test, decays=[decay], seed=seed)
        assert found.onset is not None
        assert found.decay_epoch == decay
        errors.append(abs(found.onset.epoch - onset))
        covered += found.onset.low <= onset <= found.onset.high
    assert np.quantile(errors, 0.9) <= 2
    assert covered >= binom.ppf(0.005, len(SEEDS), 0.92)


def test_the_p_value_of_a_level_gap_is_uniform_enough():
    """Below .05 in no more than the level promises, and below .5 in about half, with correlated noise too."""
    for correlation in (0.0, 0.5):
        found = []
        for seed in SEEDS:
            stream = np.random.default_rng(seed)
            gap = 0.1 + noise(stream, 60, correlation, 0.01)
            found.append(onset_of(np.arange(60.0), gap, stream).p)
        assert (np.array(found) < 0.05).sum() <= 22
        assert 60 <= (np.array(found) < 0.5).sum() <= 140


def test_the_luck_of_a_maximum_is_no_loss():
    """Best minus final of a level accuracy is 2.2 points here by luck alone; corrected, it is 0 on the mean."""
    raw, corrected, errors = [], [], []
    for seed in range(100):
        stream = np.random.default_rng(seed)
        test = 0.5 + noise(stream, 60, 0.0, 0.02)
        fall = fall_of(np.arange(60.0), test, stream)
        means = np.convolve(test, np.ones(3) / 3, "valid")
        raw.append(means.max() - means[-1])
        corrected.append(fall.loss)
        errors.append(fall.stderr)
    assert np.mean(raw) > 0.018
    assert abs(np.mean(corrected)) < 0.005
    assert np.std(corrected) == pytest.approx(np.mean(errors), rel=0.35)


def test_a_curve_without_noise_gives_its_own_numbers():
    epochs = np.arange(1, 41)
    test = 0.5 - 0.005 * np.maximum(epochs - 20, 0)
    train = 0.55 + 0.01 * np.maximum(epochs - 20, 0)
    found = phases(epochs, train, test, stderr=np.full(40, 0.01))
    assert found.verdict == "robust overfitting"
    assert (found.onset.epoch, found.onset.low, found.onset.high) == (20, 20, 20)
    assert found.onset.slope == pytest.approx(0.015)
    assert found.fall.loss == pytest.approx(0.5 - (0.4 + 0.405 + 0.41) / 3, abs=2e-3)
    assert found.fall.stderr == pytest.approx(np.sqrt(2) * 0.01, rel=0.05)
    level = phases(epochs, train * 0 + 0.5, train * 0 + 0.4)
    assert (level.verdict, level.onset) == ("none", None)


def test_with_few_evaluations_or_before_a_decay_there_is_not_enough_evidence():
    epochs, train, test, decay, _ = curves(0, 60, "overfits")
    assert phases(epochs[:9], train[:9], test[:9]).verdict == "not enough evidence"
    assert np.isnan(phases(epochs[:9], train[:9], test[:9]).overfits)
    assert phases(epochs[:30], train[:30], test[:30], decays=[decay]).verdict == "not enough evidence"
    test[15:] = np.nan
    assert phases(epochs[:24], train[:24], test[:24]).verdict != "not enough evidence"
    assert phases(epochs[:24], train[:24] * np.nan, test[:24]).verdict == "not enough evidence"


def test_the_same_seed_gives_the_same_numbers():
    epochs, train, test, decay, _ = curves(3, 60, "overfits", correlation=0.3)
    assert phases(epochs, train, test, decays=[decay], seed=1) == phases(epochs, train, test, decays=[decay], seed=1)


def test_the_best_knot_is_that_of_a_loop_over_least_squares():
    stream = np.random.default_rng(0)
    epochs = np.sort(stream.choice(200, 40, replace=False)).astype(float)
    gap = 0.1 + 0.002 * np.maximum(epochs - 90, 0) + 0.01 * stream.normal(size=40)
    losses = {}
    for knot in epochs[2:-2]:
        design = np.stack([np.ones(40), np.maximum(epochs - knot, 0)], 1)
        (_, slope), (loss,), *_ = np.linalg.lstsq(design, gap, rcond=None)
        losses[knot] = (loss, slope)
    best = min(losses, key=lambda knot: losses[knot][0])
    found = onset_of(epochs, gap, stream)
    assert found.epoch == best
    assert found.slope == pytest.approx(losses[best][1])


def test_the_curve_that_never_falls_is_the_isotonic_regression():
    stream = np.random.default_rng(0)
    for n in (1, 2, 7, 80):
        series = stream.normal(size=n)
        assert np.allclose(_never_falling(series), isotonic_regression(series).x)


@pytest.mark.parametrize("correlation", [0.0, 0.4, 0.7])
def test_the_noise_is_estimated_in_size_and_correlation_beside_a_trend_and_a_jump(correlation):
    sizes, correlations = [], []
    for seed in range(40):
        values = noise(np.random.default_rng(seed), 200, correlation, 0.01)
        size, found = noise_of(values + 0.003 * np.arange(200) + 0.1 * (np.arange(200) > 100))
        sizes.append(np.median(size))
        correlations.append(found)
    assert np.mean(sizes) == pytest.approx(0.01, rel=0.3)
    assert abs(np.mean(correlations) - correlation) < 0.2


def test_decays_are_steps_of_a_constant_rate():
    epochs = np.arange(1, 11)
    assert decays_of(epochs, np.array([0.1] * 4 + [0.01] * 3 + [0.001] * 3)) == [4, 7]
    assert decays_of(epochs, 0.1 * np.cos(np.linspace(0, 1.57, 10))) == []
    assert decays_of(epochs[:0], np.array([])) == []


def verdicts(recipe):
    found = []
    for seed in range(3):
        run = Run.open(REFERENCE / f"{recipe}-seed{seed}")
        train, test = (run.series("evaluation", "acc_adv", split, "adversarial") for split in ("train", "test"))
        lr = run.series("training", "lr")
        decays = decays_of(lr["epoch"].to_numpy(), lr["value"].to_numpy())
        assert decays == run.info["decay_epochs"]
        accuracies = (train["value"].to_numpy(), test["value"].to_numpy())
        found.append((phases(test["epoch"].to_numpy(), *accuracies, decays=decays), decays))
    return found


@pytest.mark.parametrize("recipe", ["digits-hard", "cifar10-small-hard"])
def test_reference_runs_on_hard_labels_overfit_from_the_first_decay_on(recipe):
    for found, decays in verdicts(recipe):
        assert found.verdict == "robust overfitting"
        assert decays[0] <= found.onset.epoch < decays[1]
        assert found.decay_epoch == decays[0]
        assert found.fall.loss > 1.5 * found.fall.stderr


@pytest.mark.parametrize("recipe", ["digits-sglr", "cifar10-small-sglr", "clean-digits-hard"])
def test_reference_runs_of_sglr_and_without_label_noise_do_not(recipe):
    assert [found.verdict for found, _ in verdicts(recipe)] == ["none"] * 3
