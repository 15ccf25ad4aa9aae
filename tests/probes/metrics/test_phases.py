"""The judge of robust overfitting on curves whose truth is known, and on the reference runs."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from overfit_lab.probes.metrics.drop import Drop
from overfit_lab.probes.metrics.phases import (
    THRESHOLD,
    Widening,
    onset_of,
    phases,
    steps_at,
    verdict_of,
    widening_of,
)
from overfit_lab.records.reader import Run
from overfit_lab.views.diagnosis.phases_of import phases_of

REFERENCE = Path(__file__).parents[3] / "runs" / "reference"
SEEDS = range(60)


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
        found += phases(epochs, train, test, decays=[decay], seed=seed).overfits == 1
    return found


@pytest.mark.parametrize(
    ("kind", "n", "correlation"), [("level", 100, 0.3), ("gap grows", 50, 0.0), ("gap grows", 100, 0.3)]
)
def test_false_alarms_are_no_more_than_the_level_promises(kind, n, correlation):
    """A gap that grows while test accuracy stays is none. More than the limit come with probability .005 at .05."""
    assert count_alarms(kind, n, correlation) <= binom.ppf(0.995, len(SEEDS), 0.05)


@pytest.mark.parametrize(("n", "correlation"), [(50, 0.0), (100, 0.3)])
def test_overfitting_of_ten_points_is_seldom_missed(n, correlation):
    assert count_alarms("overfits", n, correlation) >= 0.9 * len(SEEDS)


def test_the_onset_of_a_clear_curve_is_found_within_two_epochs_and_its_interval_covers():
    errors, covered, found_at_decay = [], 0, 0
    for seed in SEEDS:
        epochs, train, test, decay, onset = curves(seed, 100, "overfits", correlation=0.2)
        found = phases(epochs, train, test, decays=[decay], seed=seed)
        assert found.onset is not None
        found_at_decay += found.decay_epoch == decay and found.when in ("at a decay", "after a decay")
        errors.append(abs(found.onset.epoch - onset))
        covered += found.onset.low <= onset <= found.onset.high
    assert np.quantile(errors, 0.9) <= 2
    assert found_at_decay >= 0.9 * len(SEEDS)
    assert covered >= binom.ppf(0.005, len(SEEDS), 0.92)


def test_the_p_value_of_a_level_gap_is_uniform_enough():
    """Below .05 in no more than the level promises, and below .5 in about half, with correlated noise too."""
    for correlation in (0.0, 0.5):
        found = []
        for seed in range(200):
            stream = np.random.default_rng(seed)
            gap = 0.1 + noise(stream, 60, correlation, 0.01)
            found.append(onset_of(np.arange(60.0), gap, stream).p)
        assert (np.array(found) < 0.05).sum() <= 22
        assert 60 <= (np.array(found) < 0.5).sum() <= 140


def test_a_curve_without_noise_gives_its_own_numbers():
    epochs = np.arange(1, 41)
    test = 0.5 - 0.005 * np.maximum(epochs - 20, 0)
    train = 0.55 + 0.01 * np.maximum(epochs - 20, 0)
    found = phases(epochs, train, test)
    assert found.verdict == "robust overfitting"
    assert (found.onset.epoch, found.onset.low, found.onset.high) == (20, 20, 20)
    assert found.onset.slope == pytest.approx(0.015)
    assert found.drop.value == pytest.approx(0.1, rel=0.1)
    assert found.drop.raw == pytest.approx(0.5 - (0.4 + 0.405 + 0.41) / 3, abs=1e-9)
    assert found.gap.value == pytest.approx(0.3 - 0.015, abs=0.02)
    assert (found.when, found.decay_epoch, found.collapse) == ("", None, None)
    level = phases(epochs, train * 0 + 0.5, train * 0 + 0.4)
    assert (level.verdict, level.onset, level.peak) == ("none", None, None)
    assert level.drop.high < 1e-3
    assert abs(level.gap.value) < 1e-9


def test_with_few_evaluations_there_is_not_enough_evidence():
    epochs, train, test, _, _ = curves(0, 60, "overfits")
    few = phases(epochs[:9], train[:9], test[:9])
    assert (few.verdict, few.drop, few.gap, few.peak, few.onset, few.collapse) == ("not enough evidence", *[None] * 5)
    assert np.isnan(few.overfits)
    test[15:] = np.nan
    assert phases(epochs[:24], train[:24], test[:24]).drop is not None
    test[9:] = np.nan
    assert phases(epochs[:24], train[:24], test[:24]).drop is None


def test_before_a_decay_that_is_still_to_come_a_fall_is_a_fall():
    """The schedule is no gate: a decay that lies ahead, or none, changes no verdict of a clear fall."""
    epochs = np.arange(1, 61)
    stream = np.random.default_rng(0)
    test = 0.5 - 0.1 * np.abs(epochs - 20) / 40 + 0.005 * stream.normal(size=60)
    train = 0.55 + 0.2 * np.clip((epochs - 20) / 40, 0, 1) + 0.005 * stream.normal(size=60)
    for decays, when in (((), ""), ((80,), "before any decay"), ((55,), "before any decay")):
        found = phases(epochs, train, test, decays=decays)
        assert (found.verdict, found.when, found.decay_epoch) == ("robust overfitting", when, None)
        assert found.peak.low - 2 <= 20 <= found.peak.high + 2


def test_numbers_that_are_not_finite_are_passed_over():
    epochs, train, test, decay, _ = curves(0, 60, "overfits", correlation=0.3)
    holes = test.copy()
    holes[[3, 40]] = [np.nan, np.inf]
    seen = np.isfinite(holes)
    expected = phases(epochs[seen], train[seen], test[seen], decays=[decay])
    assert phases(epochs, train, holes, decays=[decay]) == expected
    train[[5, 50]] = np.nan
    found = phases(epochs, train, test, decays=[decay])
    assert found.verdict == "robust overfitting"
    assert np.isfinite([found.gap.value, found.gap.low, found.gap.high, found.onset.p]).all()


@pytest.mark.parametrize("n_train", [0, 9])
def test_without_train_accuracy_the_drop_alone_is_judged(n_train):
    epochs, train, test, decay, _ = curves(0, 60, "overfits")
    train[n_train:] = np.nan
    found = phases(epochs, train, test, decays=[decay])
    assert (found.verdict, found.gap, found.onset) == ("robust overfitting", None, None)
    epochs, train, test, decay, _ = curves(0, 60, "gap grows")
    found = phases(epochs, train * np.nan, test, decays=[decay])
    assert found.overfits != 1


def test_a_fall_without_a_growing_gap_is_no_overfitting():
    """Train accuracy falls with it, as where training diverges slowly or the augmentation changes."""
    epochs, _, test, decay, _ = curves(0, 60, "overfits")
    noise_of_train = 0.003 * np.random.default_rng(1).normal(size=60)
    found = phases(epochs, test + 0.03 + noise_of_train, test, decays=[decay])
    assert found.drop.low > 0.05
    assert (found.verdict, found.peak) == ("none", None)


def drop(value, low, high, least=None):
    return Drop(value, low, high, (low + value) / 2 if least is None else least, 0.0, value, 1, 10.0)


WIDE, LEVEL_GAP, HIDDEN = Widening(0.1, 0.08, 0.12), Widening(0.001, -0.002, 0.004), Widening(0.02, -0.01, 0.05)


@pytest.mark.parametrize(
    ("fall", "gap", "verdict"),
    [
        (drop(0.05, 0.03, 0.07), WIDE, "robust overfitting"),
        (drop(0.05, 0.03, 0.07), None, "robust overfitting"),
        (drop(0.05, 0.03, 0.07), LEVEL_GAP, "none"),
        (drop(0.05, 0.03, 0.07), HIDDEN, "not enough evidence"),
        (drop(0.05, 0.0, 0.09), WIDE, "not enough evidence"),
        (drop(0.012, 0.001, 0.02, 0.004), WIDE, "not enough evidence"),
        (drop(0.012, 0.001, 0.02, 0.006), WIDE, "robust overfitting"),
        (drop(0.005, 0.003, 0.009), WIDE, "none"),
        (drop(0.0, 0.0, 0.009), None, "none"),
        (drop(0.0, 0.0, 0.02), WIDE, "not enough evidence"),
        (drop(0.0, 0.0, 0.02), LEVEL_GAP, "none"),
        (drop(0.009, 0.006, 0.012), WIDE, "not enough evidence"),
    ],
)
def test_cannot_tell_is_said_where_the_intervals_hold_both(fall, gap, verdict):
    assert verdict_of(fall, gap, THRESHOLD, None) == verdict
    if verdict == "robust overfitting":
        assert verdict_of(fall, gap, THRESHOLD, 3) == "not enough evidence"


def test_the_threshold_is_the_drop_that_counts():
    epochs, train, test, decay, _ = curves(0, 60, "overfits")
    by = {t: phases(epochs, train, test, decays=[decay], threshold=t) for t in (0.01, 0.05, 0.3)}
    assert [found.verdict for found in by.values()] == ["robust overfitting"] * 2 + ["none"]
    assert by[0.01].drop == by[0.3].drop


def test_a_drop_of_five_test_samples_may_be_chance():
    """400 of 1,000 evaluations are right without noise, since they are the same samples; five change."""
    epochs = np.arange(1, 61)
    test = 0.4 - 0.05 * np.clip((epochs - 30) / 10, 0, 1)
    train = 0.5 + 0.3 * np.clip((epochs - 30) / 20, 0, 1)
    few = phases(epochs, train, test, n_test=100)
    assert (few.verdict, few.few) == ("not enough evidence", 5)
    many = phases(epochs, train, test, n_test=1000)
    assert (many.verdict, many.few) == ("robust overfitting", None)


def test_the_widening_is_that_from_the_best_evaluations_to_the_last_less_luck():
    epochs = np.arange(1.0, 61)
    stream = np.random.default_rng(0)
    test = 0.5 + 0.003 * stream.normal(size=60)
    train = test + 0.05 + 0.2 * np.clip((epochs - 30) / 30, 0, 1) + 0.003 * stream.normal(size=60)
    fall = Drop(0.01, 0, 0.02, 0, 0.1, 0.015, 3, 20.0)
    found = widening_of(epochs, train, test, fall)
    gap = train - test
    assert found.value == pytest.approx(gap[-3:].mean() - gap[18:21].mean() - 0.005)
    assert found.low < 0.19 < found.high
    assert found.high - found.value == pytest.approx(found.value - found.low)
    assert found.high - found.low < 0.05
    assert widening_of(epochs, train * np.nan, test, fall) is None


def test_steps_are_the_last_evaluations_before_decays_within_the_run():
    epochs = np.array([2, 4, 6, 8, 10])
    assert steps_at(epochs, [4, 7, 7.5, 1, 10, 30]) == [1, 2]
    assert steps_at(epochs, []) == []


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


@pytest.mark.parametrize("name", ["digits-hard", "digits-smooth", "cifar10-small-hard", "cifar10-small-smooth"])
@pytest.mark.parametrize("seed", range(3))
def test_reference_runs_on_hard_and_smooth_labels_overfit_from_the_first_decay_on(name, seed):
    run = Run.open(REFERENCE / f"{name}-seed{seed}")
    decays = run.info["decay_epochs"]
    found = phases_of(run)
    assert found.verdict == "robust overfitting"
    assert decays[0] <= found.onset.epoch < decays[1]
    assert decays[0] <= found.peak.epoch < decays[1]
    assert found.decay_epoch == decays[0]
    assert found.when in ("at a decay", "after a decay")
    assert found.drop.low > 0
    assert found.drop.value > 0.05
    assert found.gap.low > 0.1


@pytest.mark.parametrize("seed", range(3))
def test_reference_runs_of_sglr_do_not(seed):
    found = phases_of(Run.open(REFERENCE / f"digits-sglr-seed{seed}"))
    assert (found.verdict, found.peak, found.onset) == ("none", None, None)
    assert found.drop.value < THRESHOLD
    assert min(found.drop.high, found.gap.high) < THRESHOLD


@pytest.mark.parametrize("name", ["cifar10-small-sglr", "clean-digits-hard"])
@pytest.mark.parametrize("seed", range(3))
def test_reference_runs_that_stay_at_their_best_are_not_called_overfitting(name, seed):
    """Of 25 evaluations, or with noise of 2 points, one seed alone may not exclude a drop of a point."""
    found = phases_of(Run.open(REFERENCE / f"{name}-seed{seed}"))
    assert found.verdict in ("none", "not enough evidence")
    assert found.drop.low == 0
    assert found.drop.least < THRESHOLD / 2
    assert found.drop.value <= THRESHOLD
    assert found.drop.high < 0.041
    assert found.gap.low < THRESHOLD
    assert (found.verdict == "none") == (min(found.drop.high, found.gap.high) < THRESHOLD)
