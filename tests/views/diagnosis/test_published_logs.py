"""The judge on published training logs of real runs, beside a rule that knows nothing of it."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from overfit_lab.probes.metrics.decays import decays_of
from overfit_lab.probes.metrics.phases import phases

LOGS = Path(__file__).parents[4] / "shared" / "published-logs" / "rice20-half.csv.gz"
WINDOW = 5
UNDECIDED = {"cifar10_l2/preactresnet18_5e-3", "cifar10_wide/wideresnet_15"}
"""Of the runs that drop by 3 points or more those that may stay undecided where decays are not known."""

pytestmark = pytest.mark.skipif(not LOGS.exists(), reason=f"the published logs are not in {LOGS}")


@lru_cache
def logs():
    return {name: log.sort_values("epoch") for name, log in pd.read_csv(LOGS).groupby("run")}


def by_the_rule(log):
    """Drop of five-epoch means from the best to the last, and whether that is overfitting; None between."""
    test = log["test_robust_acc"].to_numpy(float)
    gap = log["train_robust_acc"].to_numpy(float) - test
    means, gaps = (np.convolve(values, np.full(WINDOW, 1 / WINDOW), "valid") for values in (test, gap))
    best = int(means.argmax())
    drop, growth = means[best] - means[-1], gaps[-1] - gaps[best]
    if drop >= 0.02 and growth >= 0.03:
        return drop, True
    return drop, False if drop < 0.01 else None


@lru_cache
def judged(name, *, with_rate):
    log = logs()[name]
    columns = ("epoch", "train_robust_acc", "test_robust_acc", "test_acc", "lr")
    epochs, train, test, clean, rate = (log[column].to_numpy(float) for column in columns)
    return phases(epochs, train, test, decays=decays_of(epochs, rate) if with_rate else (), clean=clean)


def falls():
    return {name for name, log in logs().items() if (rule := by_the_rule(log))[1] and rule[0] >= 0.03}


@pytest.mark.parametrize("with_rate", [True, False])
def test_no_run_that_stays_at_its_best_is_called_overfitting(with_rate):
    stays = [name for name, log in logs().items() if by_the_rule(log)[1] is False]
    assert len(stays) == 8
    assert [name for name in stays if judged(name, with_rate=with_rate).overfits == 1] == []


def test_no_run_that_drops_by_three_points_is_missed_or_undecided():
    assert len(falls()) == 20
    assert {name for name in falls() if judged(name, with_rate=True).overfits != 1} == set()


def test_no_run_that_overfits_at_all_is_said_not_to():
    for name, log in logs().items():
        if by_the_rule(log)[1]:
            assert judged(name, with_rate=True).verdict != "none"
            assert judged(name, with_rate=False).verdict != "none"


def test_without_the_learning_rate_two_runs_at_most_are_undecided():
    missed = {name for name in falls() if judged(name, with_rate=False).overfits != 1}
    assert missed <= UNDECIDED
    assert {judged(name, with_rate=False).verdict for name in missed} <= {"not enough evidence"}


def test_the_interval_is_near_the_drop_of_the_rule():
    for name in falls():
        drop, found = by_the_rule(logs()[name])[0], judged(name, with_rate=True).drop
        assert found.low - 0.01 <= drop <= found.high + 0.01, name
        assert found.value == pytest.approx(drop, abs=0.015), name
