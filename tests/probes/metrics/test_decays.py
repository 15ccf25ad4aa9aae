"""Where a learning rate was lowered, by the schedules of the field."""

import numpy as np
import pytest

from overfit_lab.probes.metrics.decays import decays_of


def steps(*pairs):
    return np.concatenate([np.full(n, rate) for rate, n in pairs])


def epochs_of(rates):
    return np.arange(1, len(rates) + 1)


def found(rates):
    return decays_of(epochs_of(rates), np.asarray(rates))


@pytest.mark.parametrize("factor", [1.5, 1.7, 2, 10])
def test_steps_of_any_factor_are_decays(factor):
    assert found(steps((0.1, 20), (0.1 / factor, 10), (0.1 / factor**2, 10))) == [20, 30]


def test_ten_small_steps_are_ten_decays():
    """The schedule that lowers the rate in ten steps had one decay by the rule of a half."""
    rates = steps((0.1, 60), *((0.1 * 0.8**i, 12) for i in range(1, 11)))
    assert found(rates) == [60 + 12 * i for i in range(10)]


def test_the_first_epoch_of_a_step_may_be_the_last_of_the_run():
    assert found([0.1] * 9 + [0.01]) == [9]


def test_a_drop_at_one_epoch_is_one_decay():
    assert found(steps((0.1, 50), (0.01, 150))) == [50]


@pytest.mark.parametrize(
    "rates",
    [
        0.05 * (1 + np.cos(np.linspace(0, np.pi, 100))),
        np.linspace(0.1, 0, 100),
        np.interp(np.arange(30), [0, 12, 30], [0, 0.2, 0]),
        np.interp(np.arange(200) % 50, [0, 25, 50], [0.01, 0.1, 0.01]),
        np.round(0.05 * (1 + np.cos(np.linspace(0, np.pi, 100))), 4),
        np.round(0.05 * (1 + np.cos(np.linspace(0, np.pi, 200))), 4),
        0.1 * 0.97 ** np.arange(100),
        np.full(50, 0.1),
    ],
    ids=["cosine", "linear", "cyclic", "cycles", "rounded", "rounded, 200", "exponential", "constant"],
)
def test_a_smooth_or_constant_schedule_has_none(rates):
    assert found(rates) == []


def test_a_warm_up_before_steps_is_none():
    rates = np.concatenate([np.linspace(0.02, 0.1, 5), steps((0.1, 45), (0.01, 25), (0.001, 25))])
    assert found(rates) == [50, 75]


def test_a_rate_that_rises_by_a_step_is_no_decay_and_the_next_fall_is():
    assert found(steps((0.01, 20), (0.1, 20), (0.01, 20))) == [40]


def test_epochs_are_those_that_are_given():
    assert decays_of(np.array([5, 10, 15, 20, 25, 30]), np.array([0.1] * 3 + [0.01] * 3)) == [15]


def test_fewer_than_three_epochs_have_none():
    assert decays_of(np.zeros(0), np.zeros(0)) == []
    assert found([0.1, 0.01]) == []


def test_a_rate_of_zero_or_none_does_not_break():
    assert found([0.0] * 20) == []
    assert found([0.1] * 10 + [0.0] * 10) == [10]
    assert found([float("nan")] * 20) == []
