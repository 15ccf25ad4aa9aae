"""Catastrophic overfitting, and what looks like it and is not."""

import numpy as np
import pytest

from overfit_lab.probes.metrics.collapse import collapse_of
from overfit_lab.probes.metrics.phases import phases

N = 40
EPOCHS = np.arange(1, N + 1)


def robust(seed=0, level=0.45):
    stream = np.random.default_rng(seed)
    return level * (1 - np.exp(-EPOCHS / 4)) + 0.005 * stream.normal(size=N)


def clean(seed=1):
    return robust(seed, 0.8)


def collapsed(at=25, *, over=1, left=0.01):
    curve = robust()
    curve[at:] = left + 0.003 * np.abs(np.random.default_rng(2).normal(size=N - at))
    if over == 2:
        curve[at] = 0.3
    return curve


@pytest.mark.parametrize(("over", "epoch"), [(1, 26), (2, 27)])
def test_a_collapse_within_two_evaluations_is_found_with_its_epochs(over, epoch):
    curve = collapsed(over=over)
    found = collapse_of(EPOCHS, curve, clean())
    assert (found.before, found.epoch) == (25, epoch)
    assert found.accuracy == pytest.approx(np.median(curve[22:25]))
    assert found.left == pytest.approx(curve[-2:].mean())


def test_it_is_an_answer_of_its_own_and_counts_as_overfitting():
    curve = collapsed()
    found = phases(EPOCHS, np.where(EPOCHS > 25, 0.95, curve + 0.03), curve, clean=clean())
    assert (found.verdict, found.overfits) == ("catastrophic overfitting", 1)
    assert found.collapse == collapse_of(EPOCHS, curve, clean())
    assert found.drop.value == pytest.approx(curve[24] - curve[-1], abs=0.03)


def test_one_from_which_robust_accuracy_recovers_is_none():
    curve = collapsed()
    curve[30:] = robust()[30:]
    assert collapse_of(EPOCHS, curve, clean()) is None
    late = collapsed()
    late[-2:] = 0.43
    assert collapse_of(EPOCHS, late, clean()) is None


def test_training_that_diverges_loses_clean_accuracy_too():
    gone = clean()
    gone[25:] = 0.1
    assert collapse_of(EPOCHS, collapsed(), gone) is None
    assert collapse_of(EPOCHS, collapsed(), np.full(N, np.nan)) is not None
    assert collapse_of(EPOCHS, collapsed()) is not None


@pytest.mark.parametrize("points", [15, 30])
def test_a_slow_fall_is_none(points):
    curve = robust() - points / 100 * np.clip((EPOCHS - 20) / 15, 0, 1)
    assert collapse_of(EPOCHS, curve, clean()) is None


def test_one_evaluation_alone_is_a_bad_epoch():
    for at in (12, 25, N - 2):
        curve = robust()
        curve[at] = 0.01
        assert collapse_of(EPOCHS, curve, clean()) is None
    last = robust()
    last[-1] = 0.01
    assert collapse_of(EPOCHS, last, clean()) is None


def test_a_small_accuracy_that_halves_is_none():
    """Half of 12% is lost, but less than ten points: that may be noise of an attack, or of few samples."""
    curve = np.full(N, 0.12)
    curve[25:] = 0.05
    assert collapse_of(EPOCHS, curve, clean()) is None
