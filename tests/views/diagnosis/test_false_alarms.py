"""How often findings are wrong on simulated runs; docs/diagnosis.md has the table over more settings."""

from collections import Counter

import numpy as np
import pytest
from scipy.stats import binom

from overfit_lab.probes.metrics.growth import growth_of
from overfit_lab.probes.metrics.unimodal import peak_of
from overfit_lab.views.diagnosis import cures, drop, memorisation, onset, overconfidence
from overfit_lab.views.diagnosis.finding import Subject
from overfit_lab.views.diagnosis.grown import judge
from overfit_lab.views.diagnosis.over_seeds import between, median, within
from simulated_curves import accuracies, ar_noise, evaluated, readings, rows

N = 200


def judged(seed, factor, count, correlation, n_seeds):
    """The verdict on a number that grows by a factor from epoch 30 on, with noise of 15%."""
    found = []
    for k in range(n_seeds):
        stream = np.random.default_rng(1000 * seed + k)
        epochs = np.linspace(50 / count, 50, count)
        grows = np.log(factor) * np.clip((epochs - 30) / 20 * 1.5, 0, 1)
        values = grows + ar_noise(stream, count, correlation, 0.15)
        found.append(growth_of(epochs, values, onset=30, first_decay=25))
    mean = within([g.change for g in found], [g.stderr for g in found], [g.freedom for g in found])
    return judge(*np.exp([mean.value, mean.low, mean.high]))


@pytest.mark.parametrize(("count", "correlation", "n_seeds"), [(10, 0.0, 1), (20, 0.5, 1), (10, 0.5, 3), (20, 0.5, 3)])
def test_a_level_number_is_seldom_said_to_grow_and_one_that_doubles_never_said_not_to(count, correlation, n_seeds):
    level = Counter(judged(seed, 1, count, correlation, n_seeds) for seed in range(N))
    doubled = Counter(judged(seed, 2, count, correlation, n_seeds) for seed in range(N))
    assert level["yes"] <= binom.ppf(0.995, N, 0.025)
    assert doubled["no"] <= 2
    assert doubled["yes"] >= N // 2


def test_a_method_that_changes_nothing_seldom_helps():
    """Student's interval over three seeds: 2.5% on either side."""
    streams = [np.random.default_rng(seed) for seed in range(N)]
    means = [between(stream.normal(0, 0.017, 3)) for stream in streams]
    alarms = sum(cures.Comparison("x", mean, mean).helps for mean in means)
    assert alarms <= binom.ppf(0.995, N, 0.025)


def test_the_interval_over_seeds_covers_the_onset_and_the_median_is_near():
    errors, covered = [], 0
    for seed in range(60):
        peaks = []
        for k in range(3):
            epochs, _, test, _, truth = accuracies(
                "overfits", 40, np.random.default_rng(100 * seed + k), correlation=0.3
            )
            peaks.append(peak_of(epochs, test))
        at, low, high = median([p.epoch for p in peaks], [p.low for p in peaks], [p.high for p in peaks])
        errors.append(at - truth)
        covered += low <= truth <= high
    assert abs(np.mean(errors)) <= 1
    assert np.quantile(np.abs(errors), 0.9) <= 2
    assert covered >= binom.ppf(0.005, 60, 0.95)


@pytest.mark.slow
def test_overfitting_is_seldom_seen_where_it_is_not_and_never_denied_where_it_is():
    def verdict(kind, seed):
        return onset.find(Subject("one", (evaluated(kind, 40, seed, correlation=0.5),)), ()).verdict

    without, with_it = (Counter(verdict(kind, seed) for seed in range(50)) for kind in ("gap", "overfits"))
    assert without["yes"] <= binom.ppf(0.995, 50, 0.05)
    assert with_it["no"] <= 1
    assert with_it["yes"] >= 40


ECE, CONFIDENCE = ("calibration", "ece", "test", "adversarial"), ("confidence", "conf", "test", "adversarial")
RIGHT = ("confidence", "conf_correct", "test", "adversarial")
FITTED = ("memorisation", "fitted", "train", "clean")
NOISY = {"name": "digits", "noise": {"kind": "symmetric-flip", "rate": 0.3}}


def ten(source, values, n):
    """Ten readings over 50 epochs; ``values`` takes the random stream."""
    return lambda name, decay, onset, stream: rows(name, np.arange(5, 51, 5), values(stream), *source, n=n)


def _calibration(rise):
    return readings(rise, ECE, count=10, n=50, size=0.02, level=0.1, additive=True)


def verdicts(find, n, kind="gap", **changes):
    runs = [evaluated(kind, 50, seed, **changes) for seed in range(n)]
    return Counter(find(Subject("one", (run,)), ()).verdict for run in runs)


@pytest.mark.slow
def test_overconfidence_is_seldom_said_to_grow_where_the_error_is_level():
    """Readings of ECE with noise of .02 around .1, confidence 20 points above accuracy."""
    sure = [ten(CONFIDENCE, lambda stream: np.full(10, 0.6), N), ten(RIGHT, lambda stream: np.full(10, 0.9), 80)]
    level, rises = (verdicts(overconfidence.find, 100, extra=(_calibration(by), *sure)) for by in (0, 0.2))
    assert level["yes"] <= binom.ppf(0.995, 100, 0.025)
    assert rises["no"] == 0
    assert rises["yes"] >= 80


def test_corrupted_labels_that_are_guessed_are_seldom_said_to_be_memorised():
    """150 corrupted labels, answered as given with probability .1 or .3."""
    guessed, fitted = (
        verdicts(
            memorisation.find,
            60,
            data=NOISY,
            extra=(ten(FITTED, lambda stream, share=share: stream.binomial(150, share, 10) / 150, 150),),
        )
        for share in (0.1, 0.3)
    )
    assert guessed["yes"] <= binom.ppf(0.995, 60, 0.025)
    assert fitted["yes"] == 60


@pytest.mark.slow
def test_a_drop_is_seldom_seen_where_accuracy_stays_and_a_gap_where_it_is_level():
    level, gap, falls = (verdicts(drop.find, 60, kind) for kind in ("level", "gap", "overfits"))
    assert max(level["yes"], gap["yes"]) <= binom.ppf(0.995, 60, 0.025)
    assert falls["no"] == 0
    assert falls["yes"] >= 54
    assert verdicts(memorisation.find, 60, "level")["yes"] <= binom.ppf(0.995, 60, 0.05)
    assert verdicts(memorisation.find, 60, "gap")["yes"] == 60


def test_one_seed_has_no_interval_between_seeds_and_spread_widens_that_within():
    assert between([0.1]).high == np.inf
    alone, apart = within([1.0, 1.0, 1.0], [0.1] * 3), within([0.0, 1.0, 2.0], [0.1] * 3)
    assert alone.high == pytest.approx(1 + 1.96 * 0.1 / 3**0.5, abs=1e-3)
    assert apart.high == pytest.approx(1 + 4.303 / 3**0.5, abs=1e-3)
    assert median([5.0], [3.0], [9.0]) == (5.0, 3.0, 9.0)
