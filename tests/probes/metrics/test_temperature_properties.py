"""What holds for a fitted temperature, and for logits over temperatures that they had no say in."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as drawn

from cases import EIGHTHS, labelled, renamed, sampled, shuffled, steady
from overfit_lab.probes.metrics.calibration import nll
from overfit_lab.probes.metrics.temperature import fit_temperature, over_temperature, scale_crosswise


def inside(*temperatures):
    """Whether all lie where the minimum is no limit, and is looked for by the loss."""
    return all(0.01 < t < 100 for t in temperatures)


def loss_at(z, y, temperature):
    return nll(over_temperature(z, temperature), y)[0]


@steady
@given(labelled() | sampled())
def test_no_other_temperature_has_a_smaller_loss(case):
    """Neither 1, at which nothing is scaled, nor one near by, nor a very small or large one, nor a limit."""
    z, y = case
    t = fit_temperature(z, y)
    if math.isnan(t):
        assert (z == z[:, :1]).all()
        return
    best = loss_at(z, y, t)
    near = (t * factor for factor in (0.5, 0.9, 0.999, 1.001, 1.1, 2) if 0 < t < math.inf)
    for other in [1e-6, 1e-3, 1.0, 1e3, 1e6, math.inf, *near]:
        assert best <= loss_at(z, y, other) * (1 + 1e-9) + 1e-12


@steady
@given(labelled())
def test_a_limit_is_said_as_a_limit(case):
    """An all-right model has T = 0, an all-wrong one infinity; both were ends of a range, 0.001 and 1000."""
    z, y = case
    z = z.clone()
    z[torch.arange(len(y)), y] = z.amax(dim=1) + 1
    assert fit_temperature(z, y) == 0
    assert fit_temperature(-z, y) == math.inf


@steady
@given(labelled() | sampled())
def test_no_answer_changes(case):
    z, y = case
    for t in (fit_temperature(z, y), 0.0, 1e-5, 1e5, math.inf):
        scaled = over_temperature(z, t)
        known = scaled.isfinite().any(dim=1)
        assert torch.equal(scaled.argmax(dim=1)[known], z.argmax(dim=1)[known])
    if len(y) > 1:
        scaled, _ = scale_crosswise(z, y)
        known = scaled.isfinite().any(dim=1)
        assert torch.equal(scaled.argmax(dim=1)[known], z.argmax(dim=1)[known])


@steady
@given(sampled(), st.floats(0.1, 10) | st.sampled_from([1e-8, 1e-4, 1e4, 1e8]))
def test_logits_that_are_c_times_as_large_have_c_times_the_temperature(case, c):
    z, y = case
    """Also where that is beyond 1000, which was as far as it went."""
    t, other = fit_temperature(z, y), fit_temperature(c * z.double(), y)
    if inside(t) or t in (0, math.inf):
        assert other == pytest.approx(c * t, rel=1e-4)


@steady
@given(sampled(), st.data())
def test_order_of_samples_numbers_of_classes_and_shifts_play_no_part(case, data):
    """To 1e-4 relative, what rounding of the loss leaves of a flat minimum; also where every sample is there twice."""
    z, y = case
    t = fit_temperature(z, y)
    order = shuffled(data.draw, len(y))
    shift = torch.from_numpy(data.draw(drawn.arrays(np.float32, (len(y), 1), elements=EIGHTHS)))
    others = [
        fit_temperature(z[order], y[order]),
        fit_temperature(*renamed(data.draw, z, y)),
        fit_temperature(z.double() + shift, y),
        fit_temperature(torch.cat([z, z]), torch.cat([y, y])),
    ]
    if inside(t):
        assert others == pytest.approx([t] * 4, rel=1e-4)


def same(a, b):
    """Equal to the bit, NaN with NaN."""
    return torch.equal(a.nan_to_num(9e99, 8e99, 7e99), b.nan_to_num(9e99, 8e99, 7e99))


@steady
@given(labelled(least=2), st.data())
def test_no_sample_has_a_say_in_its_own_temperature(case, data):
    """Another label or other logits of a sample change nothing in what its own half is divided by."""
    z, y = case
    scaled, _ = scale_crosswise(z, y)
    i = data.draw(st.integers(0, len(y) - 1))
    half = slice(i % 2, None, 2)
    other_y = y.clone()
    other_y[i] = (y[i] + 1) % z.shape[1]
    assert same(scale_crosswise(z, other_y)[0][half], scaled[half])
    other_z = z.clone()
    other_z[i] = z[i].flip(0) + 3
    found = scale_crosswise(other_z, y)[0]
    mates = [j for j in range(i % 2, len(y), 2) if j != i]
    assert same(found[mates], scaled[mates])
    t = fit_temperature(z[1 - i % 2 :: 2], y[1 - i % 2 :: 2])
    assert same(found[i : i + 1], over_temperature(other_z[i : i + 1], t))


@steady
@given(sampled(), st.data())
def test_crosswise_each_half_may_come_in_any_order(case, data):
    z, y = case
    order = torch.arange(len(y))
    for first in (0, 1):
        places = order[first::2].clone()
        order[first::2] = places[shuffled(data.draw, len(places))]
    (scaled, t), (other, other_t) = scale_crosswise(z, y), scale_crosswise(z[order], y[order])
    halves = [fit_temperature(z[first::2], y[first::2]) for first in (0, 1)]
    assert t == pytest.approx(math.sqrt(halves[0] * halves[1]), nan_ok=True)
    if inside(*halves):
        assert other_t == pytest.approx(t, rel=1e-4)
        torch.testing.assert_close(other, scaled[order], rtol=1e-4, atol=0)


@pytest.mark.parametrize("call", [fit_temperature, scale_crosswise])
def test_too_few_samples_are_refused(call):
    with pytest.raises(ValueError, match="samples"):
        call(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(ValueError, match="1 samples: two or more"):
        scale_crosswise(torch.zeros(1, 3), torch.tensor([0]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_model_that_diverged_has_no_temperature(bad):
    """It was an error, which ended the measurement of a run that is to be recorded as it is."""
    z = torch.tensor([[1.0, 0.0], [0.0, 1.0], [bad, 0.0], [1.0, 2.0]])
    y = torch.tensor([0, 1, 0, 1])
    assert math.isnan(fit_temperature(z, y))
    scaled, t = scale_crosswise(z, y)
    assert math.isnan(t)
    assert scaled[1::2].isnan().all()
