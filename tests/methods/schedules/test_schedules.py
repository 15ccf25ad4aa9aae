"""Learning-rate factors by hand."""

import pytest

from overfit_lab.config.catalog import SCHEDULES
from overfit_lab.config.options import parse_options
from overfit_lab.errors import ConfigError


def make(name, n_epochs, **options):
    return SCHEDULES[name](parse_options(SCHEDULES[name], options, prefix="schedule"), n_epochs)


def test_piecewise_drops_after_the_given_number_of_epochs():
    schedule = make("piecewise", 200, milestones=[100, 150])
    factors = [schedule.factor(t) for t in (0, 99.99, 100, 149.5, 150, 199.9)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("milestones", [["50%", "75%"], "50%,75%", [75, 50]])
def test_milestones_may_be_shares_text_or_unsorted(milestones):
    assert make("piecewise", 100, milestones=milestones).milestones == [50, 75]


def test_a_single_milestone():
    assert make("piecewise", 100, milestones=7).milestones == [7]


def test_cosine_by_hand():
    schedule = make("cosine", 10)
    assert [schedule.factor(t) for t in (0, 5, 10)] == pytest.approx([1, 0.5, 0], abs=1e-12)
    assert make("cosine", 10, floor=0.2).factor(10) == pytest.approx(0.2)


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_every_schedule_starts_at_most_at_1_and_stays_in_bounds(name):
    schedule = make(name, 20)
    factors = [schedule.factor(20 * i / 100) for i in range(101)]
    assert all(0 <= factor <= 1 for factor in factors)
    assert max(factors) == pytest.approx(1)


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_milestones_are_where_the_factor_drops_at_once(name):
    schedule = make(name, 20)
    for milestone in schedule.milestones:
        assert schedule.factor(milestone) < 0.6 * schedule.factor(milestone - 1e-6)


def test_linear_by_hand():
    schedule = make("linear", 90)
    expected = [1, 1, 0.55, 0.1, 0.055, 0.01]
    assert [schedule.factor(t) for t in (0, 30, 45, 60, 75, 90)] == pytest.approx(expected)


def test_cyclic_by_hand():
    schedule = make("cyclic", 100)
    assert [schedule.factor(t) for t in (0, 20, 40, 70, 100)] == pytest.approx([0, 0.5, 1, 0.5, 0])
    twice = make("cyclic", 100, n_cycles=2, peak="50%")
    assert [twice.factor(t) for t in (0, 25, 37.5, 50, 75, 100)] == pytest.approx([0, 1, 0.5, 0, 1, 0])
    assert make("cyclic", 10, peak=0).factor(0) == 1


def test_one_drop_by_hand():
    schedule = make("one-drop", 200, epoch=100)
    assert [schedule.factor(t) for t in (0, 99.9, 100, 199)] == pytest.approx([1, 1, 0.1, 0.1])


def test_multi_decay_by_hand():
    schedule = make("multi-decay", 200)
    assert [schedule.factor(t) for t in (0, 19.9, 20, 100, 199.9, 200)] == pytest.approx([1, 1, 0.9, 0.5, 0.1, 0.1])


def test_ramp_by_hand():
    schedule = make("ramp", 100, start=0.2, until=50)
    assert [schedule.factor(t) for t in (0, 25, 50, 99)] == pytest.approx([0.2, 0.6, 1, 1])
    assert make("ramp", 100, until=0).factor(0) == 1


def test_a_milestone_that_is_no_moment_is_refused():
    with pytest.raises(ConfigError, match="neither an epoch"):
        make("piecewise", 10, milestones=["half"])
