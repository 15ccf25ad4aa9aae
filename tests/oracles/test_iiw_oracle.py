"""IIW against a dense Fisher matrix built from per-sample gradients, and against closed forms."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from flops import Flops
from memory import peak_bytes
from overfit_lab.errors import ProbeError
from overfit_lab.models.preact_resnet import preact_resnet18
from overfit_lab.models.spec import ModelSpec
from overfit_lab.probes.metrics.iiw import distance, iiw, iiw_by_layer
from overfit_lab.probes.metrics.layers import group_by_layer

N, K, N_TRAIN = 40, 3, 500


def tiny_net(dtype):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 3, 3),
            nn.BatchNorm2d(3),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(12, 5),
            nn.Tanh(),
            nn.Linear(5, K),
        )
        net[1].running_mean.normal_()
        net[1].running_var.uniform_(0.5, 2)
    return net.to(dtype).eval()


def example(dtype):
    stream = torch.Generator().manual_seed(1)
    x = torch.rand(N, 1, 4, 4, generator=stream, dtype=dtype)
    y = torch.randint(K, (N,), generator=stream)
    net = tiny_net(dtype)
    displacement = {
        name: 0.3 * torch.randn(p.shape, generator=stream, dtype=dtype) for name, p in net.named_parameters()
    }
    return net, x, y, displacement


def sample_gradient(net, x, y):
    loss = functional.cross_entropy(net(x[None]), y[None])
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))])


def dense_fisher(net, x, y, estimator):
    """F as a matrix, from one gradient a sample (and class), in float64."""
    net = copy.deepcopy(net).double()
    x = x.double()
    if estimator == "empirical-fisher":
        gradients = torch.stack([sample_gradient(net, x[i], y[i]) for i in range(N)])
        return gradients.T @ gradients / N
    total = 0
    for i in range(N):
        p = torch.softmax(net(x[i][None]), 1)[0].detach()
        for k in range(K):
            g = sample_gradient(net, x[i], torch.tensor(k))
            total = total + p[k] * torch.outer(g, g)
    return total / N


@pytest.mark.parametrize("estimator", ["empirical-fisher", "expected-fisher"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_equals_n_d_f_d_with_a_dense_fisher(estimator, dtype, tolerance):
    net, x, y, displacement = example(dtype)
    d = torch.cat([t.flatten() for t in displacement.values()]).double()
    expected = N_TRAIN * (d @ dense_fisher(net, x, y, estimator) @ d).item()
    found = iiw(net, x, y, displacement, n_train=N_TRAIN, estimator=estimator, batch_size=7)
    assert found.value == pytest.approx(expected, rel=tolerance)
    assert found.n == N


def test_pib_reference_is_the_square_of_d_times_the_batch_gradient():
    net, x, y, displacement = example(torch.float64)
    d = torch.cat([t.flatten() for t in displacement.values()])
    squares = []
    for part, labels in zip(x.split(8), y.split(8), strict=True):
        loss = functional.cross_entropy(net(part), labels)
        g = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))])
        squares.append((d @ g).item() ** 2)
    found = iiw(net, x, y, displacement, n_train=N_TRAIN, estimator="pib-reference", batch_size=8)
    assert found.value == pytest.approx(N_TRAIN * sum(squares) / len(squares), rel=1e-10)
    assert found.n == 5


def test_layers_use_their_part_of_the_displacement_alone():
    net, x, y, displacement = example(torch.float64)
    fisher = dense_fisher(net, x, y, "empirical-fisher")
    for names in group_by_layer(displacement).values():
        d = torch.cat([t.flatten() if name in names else 0 * t.flatten() for name, t in displacement.items()])
        part = {name: displacement[name] for name in names}
        found = iiw(net, x, y, part, n_train=N_TRAIN)
        assert found.value == pytest.approx(N_TRAIN * (d @ fisher @ d).item(), rel=1e-9)


@pytest.mark.parametrize("estimator", ["empirical-fisher", "pib-reference"])
def test_layers_together_are_layers_one_by_one(estimator):
    net, x, y, displacement = example(torch.float64)
    displacement["4.bias"].zero_()
    whole, layers = iiw_by_layer(net, x, y, displacement, n_train=N_TRAIN, estimator=estimator, batch_size=9)
    expected = iiw(net, x, y, displacement, n_train=N_TRAIN, estimator=estimator, batch_size=9)
    assert (whole.value, whole.stderr, whole.n) == (
        pytest.approx(expected.value, rel=1e-10),
        pytest.approx(expected.stderr, rel=1e-10),
        expected.n,
    )
    assert list(layers) == ["0", "1", "4", "6"]
    for layer, names in group_by_layer(displacement).items():
        part = {name: displacement[name] for name in names}
        one = iiw(net, x, y, part, n_train=N_TRAIN, estimator=estimator, batch_size=9)
        assert layers[layer].value == pytest.approx(one.value, rel=1e-10)
        assert layers[layer].stderr == pytest.approx(one.stderr, rel=1e-10)


@pytest.mark.parametrize("n", [12, 48])
def test_all_layers_together_take_three_forward_passes(n):
    net = preact_resnet18(ModelSpec(K, (1, 8, 8)), width=8).eval()
    x, y = torch.rand(n, 1, 8, 8), torch.zeros(n, dtype=torch.int64)
    d = {name: torch.full_like(p, 0.01) for name, p in net.named_parameters()}
    with Flops() as forward, torch.no_grad():
        net(x)
    iiw_by_layer(net, x[:2], y[:2], d, n_train=1)  # tries once whether the layers' formulas hold
    with Flops() as own:
        _, layers = iiw_by_layer(net, x, y, d, n_train=1, batch_size=12)
    assert len(layers) > 30
    assert own.total <= 3.01 * forward.total
    with Flops() as coarse:
        iiw_by_layer(net, x, y, d, n_train=1, batch_size=12, depth=1)
    assert coarse.total == own.total


def test_memory_of_all_layers_is_that_of_one_batch():
    net, _, _, displacement = example(torch.float32)
    peaks = []
    for n in (1_000, 10_000):
        x, y = torch.rand(n, 1, 4, 4), torch.zeros(n, dtype=torch.int64)
        peaks.append(peak_bytes(lambda x=x, y=y: iiw_by_layer(net, x, y, displacement, n_train=1, batch_size=200)))
    n_layers = 4
    assert peaks[1] - peaks[0] <= 9_000 * 8 * 3 * n_layers  # slopes, float64, and their stacks; an image has 64 bytes
    assert peaks[0] > 200 * 3 * 4 * 4


class Awkward(nn.Module):
    """A parameter outside any layer, one module called twice, a frozen parameter that moved, one never used."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.again = nn.Conv2d(3, 3, 3, padding=1)
        self.gain = nn.Parameter(torch.tensor([1.2, 0.7, 1.1]))
        self.head = nn.Linear(3, K)
        self.unused = nn.Parameter(torch.ones(2))
        self.head.bias.requires_grad_(False)

    def forward(self, x):
        out = functional.relu_(self.conv(x))
        out = self.again(out).tanh()
        out = out + self.again(out)
        return self.head(out.mean((2, 3)) * self.gain)


def test_what_layers_do_not_give_is_added():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Awkward().double().eval()
    _, x, y, _ = example(torch.float64)
    d = {name: torch.linspace(-1, 1, p.numel(), dtype=p.dtype).view_as(p) for name, p in net.named_parameters()}
    whole, layers = iiw_by_layer(net, x, y, d, n_train=1, batch_size=16)
    assert whole.value == pytest.approx(iiw(net, x, y, d, n_train=1).value, rel=1e-10)
    assert set(layers) == {"conv", "again", "head", "model"}
    for layer, names in group_by_layer(d).items():
        assert layers[layer].value == pytest.approx(iiw(net, x, y, {n: d[n] for n in names}, n_train=1).value, rel=1e-9)
    assert net.head.weight.requires_grad
    assert not net.head.bias.requires_grad


def test_softmax_regression_has_a_closed_form():
    """For logits W x the directional derivative along D is (p - e_y) . D x."""
    stream = torch.Generator().manual_seed(2)
    x = torch.rand(N, 4, 1, 1, generator=stream, dtype=torch.float64)
    y = torch.randint(K, (N,), generator=stream)
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, K, bias=False)).double()
    d = torch.randn(K, 4, generator=stream, dtype=torch.float64)
    p = torch.softmax(net(x), 1).detach()
    u = x.flatten(1) @ d.T
    slopes = ((p - torch.eye(K)[y]) * u).sum(1)
    found = iiw(net, x, y, {"1.weight": d}, n_train=10)
    assert found.value == pytest.approx(10 * slopes.square().mean().item(), rel=1e-12)
    variance = (p * u.square()).sum(1) - (p * u).sum(1).square()
    found = iiw(net, x, y, {"1.weight": d}, n_train=10, estimator="expected-fisher")
    assert found.value == pytest.approx(10 * variance.mean().item(), rel=1e-12)


def test_batch_size_does_not_matter_and_stderr_is_that_of_the_mean():
    net, x, y, displacement = example(torch.float64)
    one = iiw(net, x, y, displacement, n_train=1, batch_size=N)
    other = iiw(net, x, y, displacement, n_train=1, batch_size=3)
    assert one.value == pytest.approx(other.value, rel=1e-12)
    d = torch.cat([t.flatten() for t in displacement.values()])
    squares = torch.stack([(d @ sample_gradient(net, x[i], y[i])) ** 2 for i in range(N)])
    assert one.stderr == pytest.approx((squares.std() / N**0.5).item(), rel=1e-10)


def test_one_forward_pass_a_batch_and_no_backward_pass():
    net, x, y, displacement = example(torch.float32)
    calls = {"forward": 0, "backward": 0}
    net[0].register_forward_hook(lambda *_: calls.__setitem__("forward", calls["forward"] + 1))
    for p in net.parameters():
        p.register_hook(lambda g: calls.__setitem__("backward", calls["backward"] + 1))
    iiw(net, x[:2], y[:2], displacement, n_train=N_TRAIN)  # tries once which way to the derivatives holds
    calls.update(forward=0, backward=0)
    iiw(net, x, y, displacement, n_train=N_TRAIN, batch_size=10)
    assert calls == {"forward": 4, "backward": 0}


def test_no_displacement_is_no_information():
    net, x, y, displacement = example(torch.float64)
    zero = {name: torch.zeros_like(t) for name, t in displacement.items()}
    assert iiw(net, x, y, zero, n_train=N_TRAIN).value == 0
    assert distance(zero) == 0


def test_a_reference_of_another_architecture_is_refused():
    net, x, y, displacement = example(torch.float32)
    with pytest.raises(ProbeError, match="another architecture"):
        iiw(net, x, y, {"nowhere.weight": torch.zeros(3)}, n_train=1)
    with pytest.raises(ProbeError, match="shape"):
        iiw(net, x, y, {**displacement, "0.weight": torch.zeros(3)}, n_train=1)
