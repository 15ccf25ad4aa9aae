"""Temperatures against the one that labels were drawn with, against other optimisers, and as the probe uses them."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import chi2
from torch.nn import functional

from factories import informed_model, make_snapshot
from overfit_lab.config.catalog import PROBES
from overfit_lab.probes.base import run_probe
from overfit_lab.probes.metrics.calibration import ece, nll, reliability
from overfit_lab.probes.metrics.temperature import fit_temperature, over_temperature, scale_crosswise


def drawn(n, k, temperature, seed, spread=3.0):
    """Logits, and labels drawn from softmax(z / T); from nothing but chance for an infinite T."""
    stream = np.random.default_rng(seed)
    z = spread * stream.normal(size=(n, k))
    y = np.argmax(z / temperature + stream.gumbel(size=(n, k)), axis=1)
    return torch.from_numpy(z).float(), torch.from_numpy(y)


def information(z, beta):
    """Fisher information about beta = 1/T in a set.

    The log-likelihood beta z_y - log sum_k exp(beta z_k) has the second derivative -Var z_k under softmax(beta z),
    whatever the label: the information is the sum of these variances, and the variance of the estimate its inverse.
    """
    z = z.double()
    p = torch.softmax(beta * z, dim=1)
    mean = (p * z).sum(dim=1, keepdim=True)
    return (p * (z - mean).square()).sum().item()


def standard_error(z, temperature):
    """Of T = 1/beta: the derivative of 1/beta is T^2 in size, so T^2 / sqrt(information)."""
    return temperature**2 / math.sqrt(information(z, 1 / temperature))


@pytest.mark.parametrize("k", [2, 5, 10])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 8.0])
def test_the_temperature_that_labels_were_drawn_with_is_found(k, temperature):
    """Within four standard errors, which are a few percent here."""
    z, y = drawn(20_000, k, temperature, seed=k)
    error = standard_error(z, temperature)
    assert error < 0.08 * temperature
    assert abs(fit_temperature(z, y) - temperature) < 4 * error


def test_its_errors_are_as_large_as_the_information_allows():
    """Over 60 sets the squared errors in units of the standard error are chi-square: not too large nor too small."""
    squares = []
    for seed in range(60):
        z, y = drawn(2000, 4, 1.7, seed)
        deviation = 1 / fit_temperature(z, y) - 1 / 1.7
        squares.append(deviation**2 * information(z, 1 / 1.7))
    assert chi2.ppf(0.001, 60) < sum(squares) < chi2.ppf(0.999, 60)


CASES = [(30, 2, 1.0), (200, 5, 0.4), (200, 5, 3.0), (1000, 10, 1.5)]


@pytest.mark.parametrize(("n", "k", "temperature"), CASES)
def test_lbfgs_on_the_logarithm_of_the_temperature_agrees(n, k, temperature):
    z, y = drawn(n, k, temperature, seed=3)
    log_t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_t], max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = functional.cross_entropy(z.double() / log_t.exp(), y)
        loss.backward()
        return loss

    optimiser.step(closure)
    assert fit_temperature(z, y) == pytest.approx(log_t.exp().item(), rel=1e-4)


@pytest.mark.parametrize(("n", "k", "temperature"), CASES)
def test_the_slope_of_the_loss_is_zero_there(n, k, temperature):
    """By numpy alone: the root in 1/T of the mean of E_p z - z_y."""
    z, y = drawn(n, k, temperature, seed=4)
    rows, label = z.double().numpy(), y.numpy()

    def slope(beta):
        p = np.exp(beta * rows - (beta * rows).max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        return ((p * rows).sum(axis=1) - rows[np.arange(n), label]).mean()

    assert fit_temperature(z, y) == pytest.approx(1 / brentq(slope, 1e-3, 1e3, xtol=1e-12), rel=1e-4)


def test_two_classes_by_hand():
    """Three of four answers right, all with a margin of m: sigmoid(m / T) = 3/4 at T = m / log 3."""
    for margin in (0.5, 2.0, 100.0):
        z = torch.tensor([[margin, 0.0]] * 4)
        assert fit_temperature(z, torch.tensor([0, 0, 0, 1])) == pytest.approx(margin / math.log(3), rel=1e-5)


def test_separated_logits_have_the_limit_zero_and_inverted_ones_infinity():
    z, _ = drawn(500, 5, 1.0, seed=5)
    y = z.argmax(dim=1)
    assert fit_temperature(z, y) == 0
    assert fit_temperature(-z, y) == math.inf


def test_labels_by_chance_have_a_large_temperature():
    """The estimate of 1/T lies around 0 with a known error: above it T is large, below it infinite."""
    found = []
    for seed in range(12):
        z, y = drawn(4000, 4, math.inf, seed)
        found.append(fit_temperature(z, y))
        assert found[-1] > math.sqrt(information(z, 0.0)) / 4
    assert 2 <= sum(t == math.inf for t in found) <= 10


def test_after_scaling_an_overconfident_model_is_calibrated():
    """Its labels were drawn at T = 4; on other samples than those that T was fitted on."""
    z, y = drawn(20_000, 5, 4.0, seed=6)
    t = fit_temperature(z[::2], y[::2])
    z, y = z[1::2], y[1::2]
    assert ece(reliability(z, y)) > 0.2
    assert ece(reliability(z.double() / t, y)) < 0.03
    assert nll(z.double() / t, y)[0] < nll(z, y)[0] - 0.5


def test_crosswise_halves_are_scaled_by_each_others_temperature():
    """The even samples are drawn at T = 1 and the odd at T = 4: the even come out too flat, the odd too sharp."""
    (even_z, even_y), (odd_z, odd_y) = drawn(4000, 5, 1.0, seed=7), drawn(4000, 5, 4.0, seed=8)
    z = torch.stack([even_z, odd_z], dim=1).flatten(0, 1)
    y = torch.stack([even_y, odd_y], dim=1).flatten()
    scaled, t = scale_crosswise(z, y)
    assert t == pytest.approx(2, abs=0.2)
    assert (even_z.double() / scaled[::2]).median().item() == pytest.approx(4, abs=0.5)
    assert (odd_z.double() / scaled[1::2]).median().item() == pytest.approx(1, abs=0.1)


def measured(snapshot, **options):
    probe = PROBES["calibration"](PROBES["calibration"].Options(**options))
    measurement, _ = run_probe(probe, snapshot)
    return {(v.field, v.split, v.inputs): v for v in measurement.values}, measurement.arrays


@pytest.mark.parametrize("inputs", ["clean", "adversarial"])
def test_the_probe_fits_on_the_validation_split_on_the_same_kind_of_inputs(inputs):
    snapshot = make_snapshot(informed_model())
    found, arrays = measured(snapshot, n=15, inputs=(inputs,))
    held_out, view = snapshot.view("val", inputs, 15), snapshot.view("test", inputs, 15)
    t = fit_temperature(held_out.logits, held_out.y)
    other_inputs = "clean" if inputs == "adversarial" else "adversarial"
    others = [view, snapshot.view("val", inputs), snapshot.view("val", other_inputs, 15)]
    assert 0 < t < math.inf
    assert all(abs(t - fit_temperature(other.logits, other.y)) > 1e-3 for other in others)
    assert found["temperature", "test", inputs].value == t
    scaled = view.logits.double() / t
    assert found["nll_scaled", "test", inputs].value == nll(scaled, view.y)[0]
    assert found["nll_scaled", "test", inputs].stderr == nll(scaled, view.y)[1]
    assert found["ece_scaled", "test", inputs].value == ece(reliability(scaled, view.y))
    assert found["nll", "test", inputs].value == nll(view.logits, view.y)[0]
    assert np.array_equal(arrays[f"reliability-scaled-test-{inputs}"], reliability(scaled, view.y).table())


@pytest.mark.parametrize(("splits", "split"), [(("train", "test"), "test"), (("train", "val", "test"), "val")])
def test_the_probe_fits_crosswise_where_no_other_samples_are_held_out(splits, split):
    """Without a validation split, and of that split itself."""
    snapshot = make_snapshot(informed_model(), splits=splits)
    found, _ = measured(snapshot, n=18, splits=(split,), inputs=("clean",))
    view = snapshot.view(split, "clean", 18)
    scaled, t = scale_crosswise(view.logits, view.y)
    assert 0 < t < math.inf
    assert found["temperature", split, "clean"].value == t
    assert found["nll_scaled", split, "clean"].value == nll(scaled, view.y)[0]
    assert found["ece_scaled", split, "clean"].value == ece(reliability(scaled, view.y))
    assert abs(t - fit_temperature(view.logits, view.y)) > 1e-3


@pytest.mark.parametrize("margin", [1e-7, 1e-3, 1.0, 1e6, 1e9])
def test_a_temperature_beyond_the_usual_ones_is_found_and_not_cut_off(margin):
    """Above 1000 it was 1000. As by hand: sigmoid(m / T) = 3/4 at T = m / log 3."""
    z = torch.tensor([[margin, 0.0]] * 4, dtype=torch.float64)
    assert fit_temperature(z, torch.tensor([0, 0, 0, 1])) == pytest.approx(margin / math.log(3), rel=1e-5)


@pytest.mark.parametrize("limit", [0.0, math.inf])
def test_a_limit_is_recorded_as_null_with_the_scaled_numbers_of_the_limit(limit):
    """The end of the range, 0.001 or 1000, was recorded as if it were fitted."""
    snapshot = make_snapshot(informed_model())
    for split in ("val", "test"):
        held_out = snapshot.view(split, "clean", 15)
        sign = 1 if limit == 0 else -1
        held_out.logits.copy_(sign * functional.one_hot(held_out.y, held_out.logits.shape[1]))
    found, _ = measured(snapshot, n=15, inputs=("clean",))
    assert math.isnan(found["temperature", "test", "clean"].value)
    k = snapshot.view("test", "clean", 15).logits.shape[1]
    assert found["nll_scaled", "test", "clean"].value == pytest.approx(0 if limit == 0 else math.log(k))
    assert found["ece_scaled", "test", "clean"].value == pytest.approx(0 if limit == 0 else 1 / k)


def test_logits_over_a_limit():
    z = torch.tensor([[1.0, 3.0, 3.0], [5.0, 0.0, -2.0]])
    assert torch.softmax(over_temperature(z, 0.0), 1).tolist() == [[0, 0.5, 0.5], [1, 0, 0]]
    assert (torch.softmax(over_temperature(z, math.inf), 1) == torch.tensor(1 / 3, dtype=torch.float64)).all()


def test_a_single_sample_has_no_temperature():
    found, arrays = measured(make_snapshot(), n=1, splits=("test",), inputs=("clean",))
    assert {field for field, _, _ in found} == {"ece", "ece_adaptive", "ece_classwise", "mce", "brier", "nll"}
    assert list(arrays) == ["reliability-test-clean"]
