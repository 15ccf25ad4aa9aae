"""Sizes within a budget: properties of the arithmetic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overfit_lab.probes.plan import FLOOR, Cost, Demand, Inputs, plan_sizes, seconds_at

seconds = st.floats(0, 2, allow_nan=False)
costs = st.builds(Cost, seconds, st.floats(0, 0.05))
NAMES = ("train/adversarial", "test/clean")
made = st.fixed_dictionaries(
    {name: st.builds(Inputs, costs, st.integers(1, 300), st.integers(1, 3000)) for name in NAMES}
)
demands = st.lists(
    st.builds(Demand, st.sampled_from("abc"), costs, st.integers(1, 3000), st.sampled_from([(), NAMES[:1], NAMES])),
    min_size=1,
    max_size=3,
    unique_by=lambda d: d.name,
)


def spent(asked, inputs, sizes):
    """What sizes cost, written anew: inputs chunk by chunk."""
    total = 0.0
    for d in asked:
        total += d.cost.fixed + d.cost.per_sample * sizes[d.name]
    for name, i in inputs.items():
        n = min(max((sizes[d.name] for d in asked if name in d.inputs), default=0), i.size)
        start = 0
        while start < n:
            length = min(i.chunk, i.size - start)
            total += i.cost.fixed + i.cost.per_sample * length
            start += length
    return total


@given(demands, made, st.floats(0, 200))
def test_never_over_budget_never_below_the_floor_and_no_more_would_fit(asked, inputs, budget):
    sizes = plan_sizes(asked, inputs, budget)
    if sizes is None:
        assert spent(asked, inputs, {d.name: min(FLOOR, d.cap) for d in asked}) > budget - 1e-9
        return
    assert spent(asked, inputs, sizes) <= budget + 1e-9
    top = max(sizes.values())
    for d in asked:
        assert min(FLOOR, d.cap) <= sizes[d.name] <= d.cap
        assert sizes[d.name] in (d.cap, top)
    if top < max(d.cap for d in asked):
        assert spent(asked, inputs, {d.name: min(top + 1, d.cap) for d in asked}) > budget - 1e-9


@given(demands, made, st.floats(0, 200), st.floats(0, 200))
def test_more_seconds_never_give_fewer_samples(asked, inputs, a, b):
    less, more = (plan_sizes(asked, inputs, s) for s in sorted((a, b)))
    assert less is None or all(less[name] <= more[name] for name in less)


@given(st.integers(1, 50), st.integers(51, 200), costs)
def test_a_line_is_found_back(few, more, cost):
    line = Cost.through((few, cost.seconds(few)), (more, cost.seconds(more)))
    assert line.seconds(1000) == pytest.approx(cost.seconds(1000), rel=1e-6, abs=1e-9) or cost.per_sample < 1e-12
    assert line.seconds(1000) >= cost.seconds(1000) - 1e-6


@given(st.floats(0, 5), st.floats(0, 5))
def test_readings_that_contradict_a_line_are_taken_as_dear(t, u):
    line = Cost.through((16, t), (64, u))
    assert line.seconds(64) >= max(u, min(t, u)) - 1e-9
    assert line.seconds(6400) >= 100 * u - 1e-6 or line.fixed > 0
    assert line.fixed >= 0
    assert line.per_sample >= 0


def test_inputs_are_counted_in_whole_chunks():
    inputs = Inputs(Cost(1.0, 0.5), chunk=10, size=25)
    assert [inputs.seconds(n) for n in (0, 1, 10, 11, 20, 21, 25, 99)] == [0, 6, 6, 12, 12, 15.5, 15.5, 15.5]
    assert seconds_at([Demand("a", Cost(2.0, 1.0), 30, ("x",))], {"x": inputs}, 11) == 2 + 11 + 12
