"""IIW where it is known: softmax regression, linear-Gaussian models, dense gradients; coverage, cost and memory."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from memory import PeakBytes
from overfit_lab.config.options import parse_options
from overfit_lab.data.dataset import dataset_from_arrays
from overfit_lab.probes.base import run_probe
from overfit_lab.probes.iiw import IiwProbe
from overfit_lab.probes.metrics.iiw import iiw
from overfit_lab.probes.metrics.layers import group_by_layer
from overfit_lab.probes.metrics.likelihood import Categorical, Gaussian
from overfit_lab.probes.snapshot import Snapshot
from overfit_lab.types import Clock

ESTIMATORS = ("empirical-fisher", "expected-fisher", "pib-reference")


# Softmax regression: the expected Fisher of W has blocks (p_k [k = l] - p_k p_l) x x^T.


def test_softmax_regression_in_numpy():
    """N mean_i [sum_k p_k (d_k . x_i)^2 - (sum_k p_k d_k . x_i)^2], from numpy alone."""
    stream = np.random.default_rng(0)
    n, m, k = 70, 6, 5
    x, w, w0 = stream.normal(size=(n, m)), stream.normal(size=(k, m)), stream.normal(size=(k, m))
    b, b0 = stream.normal(size=k), stream.normal(size=k)
    scores = x @ w.T + b
    p = np.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    u = x @ (w - w0).T + (b - b0)
    expected = 300 * np.mean((p * u**2).sum(1) - (p * u).sum(1) ** 2)
    net = nn.Sequential(nn.Linear(m, k)).double()
    net[0].weight.data, net[0].bias.data = torch.from_numpy(w), torch.from_numpy(b)
    displacement = {"0.weight": torch.from_numpy(w - w0), "0.bias": torch.from_numpy(b - b0)}
    images, y = torch.from_numpy(x), torch.from_numpy(stream.integers(k, size=n))
    found = iiw(net, images, y, displacement, n_train=300, estimator="expected-fisher", batch_size=16)
    assert found.value == pytest.approx(expected, rel=1e-12)
    slopes = ((p - np.eye(k)[y.numpy()]) * u).sum(1)
    found = iiw(net, images, y, displacement, n_train=300, batch_size=16)
    assert found.value == pytest.approx(300 * np.mean(slopes**2), rel=1e-12)
    assert found.stderr == pytest.approx(300 * np.std(slopes**2, ddof=1) / math.sqrt(n), rel=1e-12)


def test_the_empirical_fisher_has_the_expected_one_as_its_mean_over_labels_of_the_model():
    """Summed over every label with its probability, the square of the slope is the variance; exact, no sampling."""
    stream = torch.Generator().manual_seed(3)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    x = torch.randn(25, 4, generator=stream, dtype=torch.float64)
    d = {name: torch.randn(p.shape, generator=stream, dtype=torch.float64) for name, p in net.named_parameters()}
    p = torch.softmax(net(x), 1).detach()
    total = 0.0
    for i in range(25):
        for k in range(3):
            total += p[i, k].item() * iiw(net, x[i : i + 1], torch.tensor([k]), d, n_train=1).value
    found = iiw(net, x, torch.zeros(25, dtype=torch.int64), d, n_train=1, estimator="expected-fisher")
    assert found.value == pytest.approx(total / 25, rel=1e-12)


# The linear-Gaussian model: y = w x + N(0, s^2), Fisher E[x x^T] / s^2.


def linear_gaussian(n, outputs=1, seed=0):
    stream = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=stream, dtype=torch.float64) @ torch.diag(torch.tensor([1.0, 2, 0.5, 3])).double()
    net = nn.Linear(4, outputs, bias=False).double()
    net.weight.data = torch.randn(outputs, 4, generator=stream, dtype=torch.float64)
    d = 0.3 * torch.randn(outputs, 4, generator=stream, dtype=torch.float64)
    noise = torch.randn(n, outputs, generator=stream, dtype=torch.float64)
    return net, x, d, noise


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("variance", [0.25, 1.0, 9.0])
def test_a_linear_gaussian_model_has_its_closed_form_and_is_twice_n_times_a_divergence(variance, outputs):
    net, x, d, noise = linear_gaussian(200, outputs)
    second_moment = x.T @ x / len(x)
    closed = 500 * sum((row @ second_moment @ row).item() for row in d) / variance
    prior = copy.deepcopy(net)
    prior.weight.data = net.weight.data - d
    own, other = (torch.distributions.Normal(model(x).detach(), math.sqrt(variance)) for model in (net, prior))
    divergence = torch.distributions.kl_divergence(own, other).sum(1).mean().item()
    y = net(x).detach() + math.sqrt(variance) * noise
    likelihood = Gaussian(variance)
    given = {"n_train": 500, "batch_size": 64, "likelihood": likelihood}
    found = iiw(net, x, y, {"weight": d}, estimator="expected-fisher", **given)
    assert found.value == pytest.approx(closed, rel=1e-12)
    assert found.value == pytest.approx(2 * 500 * divergence, rel=1e-12)


def test_the_empirical_fisher_of_a_linear_gaussian_model_reaches_it_within_its_standard_error():
    net, x, d, noise = linear_gaussian(200_000)
    y = net(x).detach() + 0.7 * noise
    closed = 500 * (d[0] @ (x.T @ x / len(x)) @ d[0]).item() / 0.49
    found = iiw(net, x, y, {"weight": d}, n_train=500, likelihood=Gaussian(0.49), batch_size=50_000)
    assert found.stderr < 0.02 * closed
    assert abs(found.value - closed) < 3 * found.stderr
    without_noise = iiw(net, x, net(x).detach(), {"weight": d}, n_train=500, likelihood=Gaussian(0.49))
    assert without_noise.value < 1e-20  # a model that fits every label has no empirical Fisher


@pytest.mark.parametrize("likelihood", [Categorical(), Gaussian(0.3)])
def test_a_likelihood_is_the_derivative_of_its_log_density(likelihood):
    """Score and information against autograd of the log density, and the information as the score's variance."""
    stream = torch.Generator().manual_seed(5)
    z = torch.randn(6, 4, generator=stream, dtype=torch.float64, requires_grad=True)
    u = torch.randn(6, 4, generator=stream, dtype=torch.float64)
    if isinstance(likelihood, Categorical):
        y = torch.randint(4, (6,), generator=stream)
        loss = functional.cross_entropy(z, y, reduction="sum")
    else:
        y = torch.randn(6, 4, generator=stream, dtype=torch.float64)
        loss = -torch.distributions.Normal(z, math.sqrt(0.3)).log_prob(y).sum()
    (gradient,) = torch.autograd.grad(loss, z, create_graph=True)
    assert torch.allclose(likelihood.score(z, y), gradient, rtol=1e-12)
    (curvature,) = torch.autograd.grad((gradient * u).sum(), z)  # does not depend on y for either of them
    assert torch.allclose(likelihood.information(z, u), (curvature * u).sum(1), rtol=1e-10)


# Dense gradients in float64, through the probe, whatever way it takes to the numbers.


def conv_net():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24, 3),
    )


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 3))


def snapshot_of(make, dtype=torch.float32):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        net = make()
        for module in net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                module.weight.data.uniform_(0.5, 2)
        x = torch.randint(256, (50, 1, 6, 6), dtype=torch.uint8)
        y = torch.randint(3, (50,))
        reference = {name: p.detach() + 0.2 * torch.randn_like(p) for name, p in net.named_parameters()}
    data = dataset_from_arrays((x, y))
    clock = Clock(epoch=1, step=1, n_epochs=1)
    return Snapshot(model=net.eval(), data=data, clock=clock, reference=reference, chunk=16, batch_size=16)


def dense(snapshot, view, estimator, names=None):
    """N d^T F d from one float64 gradient a sample (and class); d is 0 outside of ``names``."""
    net = copy.deepcopy(snapshot.model).double()
    reference = snapshot.reference
    d = torch.cat(
        [
            (p.double() - reference[name].double()).flatten() * (names is None or name in names)
            for name, p in snapshot.model.named_parameters()
        ]
    ).detach()

    def gradient(i, k):
        loss = functional.cross_entropy(net(view.x[i : i + 1].double()), torch.tensor([k]))
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))])

    n = len(view)
    own = torch.stack([gradient(i, int(view.y[i])) for i in range(n)])
    if estimator == "empirical-fisher":
        return 50 * (own @ d).square().mean().item()
    if estimator == "pib-reference":
        return 50 * torch.stack([(part.mean(0) @ d).square() for part in own.split(snapshot.chunk)]).mean().item()
    p = torch.softmax(net(view.x.double()), 1).detach()
    every = torch.stack([torch.stack([gradient(i, k) for k in range(3)]) for i in range(n)])
    return 50 * (p * (every @ d).square()).sum(1).mean().item()


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("make", [conv_net, mlp])
def test_the_probe_equals_dense_float64_gradients_whole_and_layer_by_layer(make, estimator):
    snapshot = snapshot_of(make)
    options = {"estimator": estimator, "n": 40, "inputs": ["clean"], "layer_depth": 1}
    measurement, _ = run_probe(IiwProbe(parse_options(IiwProbe, options, prefix="iiw")), snapshot)
    view = snapshot.view("train", "clean", 40)
    suffix = "" if estimator == "empirical-fisher" else f"-{estimator}"
    found = {value.field: value.value for value in measurement.values}
    assert found[f"iiw{suffix}"] == pytest.approx(dense(snapshot, view, estimator), rel=1e-5)
    groups = group_by_layer(dict(snapshot.model.named_parameters()), 1)
    assert {field for field in found if field.startswith("layer")} == {f"layer{suffix}/{name}" for name in groups}
    for layer, names in groups.items():
        expected = dense(snapshot, view, estimator, names)
        assert found[f"layer{suffix}/{layer}"] == pytest.approx(expected, rel=1e-5), layer


# The standard error is that of a draw of samples.


@pytest.mark.parametrize("estimator", ["empirical-fisher", "expected-fisher"])
def test_the_standard_error_covers_the_populations_value_at_its_nominal_rate(estimator):
    """200 subsets of 150 out of 20,000: within 1.96 standard errors in 95% of them, between the binomial's 0.1% ends.

    The terms are squares, so their mean is skewed, and the rate in samples of 150 lies a little below 95%.
    """
    stream = torch.Generator().manual_seed(17)
    net = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 4))
    for p in net.parameters():
        p.data = torch.randn(p.shape, generator=stream) / 2
    x = torch.randn(20_000, 6, generator=stream)
    y = torch.distributions.Categorical(logits=net(x).detach() / 2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(18)
        y = y.sample()
    d = {name: 0.2 * torch.randn(p.shape, generator=stream) for name, p in net.named_parameters()}
    given = {"n_train": 1000, "estimator": estimator, "batch_size": 20_000}
    population = iiw(net, x, y, d, **given)
    subsets = [torch.randperm(20_000, generator=torch.Generator().manual_seed(seed))[:150] for seed in range(200)]
    found = [iiw(net, x[part], y[part], d, **given) for part in subsets]
    covered = sum(abs(one.value - population.value) < 1.96 * one.stderr for one in found)
    assert 179 <= covered <= 198
    spread = np.std([one.value for one in found])
    assert spread == pytest.approx(population.stderr * math.sqrt(20_000 / 150), rel=0.2)
    assert abs(np.mean([one.value for one in found]) - population.value) < 3 * spread / math.sqrt(200)


# Cost: passes, arithmetic and memory.


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(("n", "batch"), [(10, 10), (11, 10), (64, 8), (5, 100)])
def test_the_model_is_called_once_a_batch(estimator, n, batch):
    net = conv_net().eval()
    calls = []
    net.register_forward_pre_hook(lambda *_: calls.append(1))
    d = {name: torch.ones_like(p) for name, p in net.named_parameters()}
    x, y = torch.rand(n, 1, 6, 6), torch.zeros(n, dtype=torch.int64)
    iiw(net, x, y, d, n_train=1, estimator=estimator, batch_size=batch)  # tries once which way to the derivatives holds
    calls.clear()
    for p in net.parameters():
        p.register_hook(lambda _: pytest.fail("a backward pass"))
    iiw(net, x, y, d, n_train=1, estimator=estimator, batch_size=batch)
    assert len(calls) == math.ceil(n / batch)


@pytest.mark.parametrize("n_classes", [3, 30])
def test_its_arithmetic_is_that_of_three_forward_passes_for_any_number_of_classes(n_classes):
    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(288, n_classes)).eval()
    d = {name: torch.ones_like(p) for name, p in net.named_parameters()}
    flops = []
    iiw(net, torch.rand(2, 1, 6, 6), torch.zeros(2, dtype=torch.int64), d, n_train=1)  # tries once which way holds
    for n in (20, 200):
        x, y = torch.rand(n, 1, 6, 6), torch.zeros(n, dtype=torch.int64)
        with FlopCounterMode(display=False) as forward, torch.no_grad():
            net(x)
        with FlopCounterMode(display=False) as own:
            iiw(net, x, y, d, n_train=1, batch_size=50)
        assert own.get_total_flops() <= 3 * forward.get_total_flops()
        flops.append(own.get_total_flops())
    assert flops[1] == 10 * flops[0]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_memory_is_that_of_one_batch_however_many_samples(estimator):
    """From 1,000 to 10,000 samples the peak grows by one float64 a sample (the terms of the mean) and no more."""
    net = conv_net().eval()
    d = {name: torch.ones_like(p) for name, p in net.named_parameters()}
    peaks = []
    for n in (1_000, 10_000):
        x, y = torch.rand(n, 1, 6, 6), torch.zeros(n, dtype=torch.int64)
        with PeakBytes() as memory:
            iiw(net, x, y, d, n_train=1, estimator=estimator, batch_size=250)
        peaks.append(memory.peak)
    activations = 250 * 4 * 36 * 4
    assert peaks[0] > 2 * activations  # the first layer's output and its tangent: something was measured
    assert peaks[1] - peaks[0] <= 9_000 * 8 * 4
    with PeakBytes() as memory:
        iiw(net, x, y, d, n_train=1, estimator=estimator, batch_size=2_500)
    assert memory.peak > 8 * peaks[0]  # it is the batch that it grows with
