"""Per-sample gradients' norms and products against a loop over samples, and what they cost."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from memory import peak_bytes
from nets import NETS, K, images, net_of
from overfit_lab.errors import ProbeError
from overfit_lab.models.small_cnn import SmallCNN
from overfit_lab.models.spec import ModelSpec
from overfit_lab.probes.metrics.layer_kinds.base import CallCache
from overfit_lab.probes.metrics.layer_kinds.products import gram_is_cheaper, outer_squared_norm
from overfit_lab.probes.metrics.layer_kinds.select import kind_of
from overfit_lab.probes.metrics.layers import group_by_layer
from overfit_lab.probes.metrics.local import local_pass
from overfit_lab.probes.metrics.per_sample_norms import per_sample_norms

N = 35  # more than are worked on at once
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
nets = pytest.mark.parametrize("name", list(NETS))


def targets_of(n):
    stream = torch.Generator().manual_seed(2)
    return torch.softmax(2 * torch.randn(n, K, generator=stream, dtype=torch.float64), 1)


def loop(net, x, targets):
    """{name: (n, ...)}: one backward pass a sample."""
    trainable = {name: p for name, p in net.named_parameters() if p.requires_grad}
    rows = []
    for i in range(len(x)):
        loss = -(targets[i] * torch.log_softmax(net(x[i : i + 1]), 1)).sum()
        rows.append(torch.autograd.grad(loss, list(trainable.values()), materialize_grads=True))
    return {name: torch.stack([row[j] for row in rows]) for j, name in enumerate(trainable)}


@nets
def test_norms_equal_a_loop_over_samples(name):
    net, (x, _), targets = net_of(name), images(N), targets_of(N)
    state = {key: value.clone() for key, value in net.state_dict().items()}
    needs = [p.requires_grad for p in net.parameters()]
    found = per_sample_norms(net, x, targets, layers=True)
    gradients = loop(net, x, targets)
    squares = {key: g.reshape(N, -1).square().sum(1) for key, g in gradients.items()}
    torch.testing.assert_close(found.norms, sum(squares.values()).sqrt(), rtol=1e-9, atol=1e-12)
    for layer, members in group_by_layer(gradients).items():
        torch.testing.assert_close(found.layers[layer], sum(squares[m] for m in members).sqrt(), rtol=1e-9, atol=1e-12)
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert needs == [p.requires_grad for p in net.parameters()]
    assert all(p.grad is None for p in net.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


@nets
def test_slopes_along_a_direction_equal_the_loop(name):
    net, (x, _), targets = net_of(name), images(N), targets_of(N)
    gradients = loop(net, x, targets)
    stream = torch.Generator().manual_seed(4)
    d = {key: torch.randn(g.shape[1:], generator=stream, dtype=torch.float64) for key, g in gradients.items()}
    expected = sum((g * d[key]).reshape(N, -1).sum(1) for key, g in gradients.items())
    found = per_sample_norms(net, x, targets, along=d)
    torch.testing.assert_close(found.slopes, expected, rtol=1e-9, atol=1e-11)
    assert per_sample_norms(net, x, targets).slopes is None


@nets
@pytest.mark.parametrize("times", [1, 50])
def test_products_and_squares_of_each_call_equal_the_loop(name, times):
    """A sum over calls is the product; where there is one call, its square is the parameter's."""
    net, (x, _), targets = net_of(name), images(5), targets_of(5)
    gradients = loop(net, x, targets)
    stream = torch.Generator().manual_seed(3)
    d = {key: torch.randn(g.shape[1:], generator=stream, dtype=torch.float64) for key, g in gradients.items()}
    along = dict.fromkeys(gradients, 0)
    with local_pass(net, x) as passed:
        kept = {call: CallCache(times) for call in passed.calls}

        def visit(call, delta):
            for local, full in call.parameters.items():
                along[full] = along[full] + kind_of(call).directional(call, delta, {local: d[full]})
            if passed.repeated.isdisjoint(call.parameters.values()):
                for local, values in kind_of(call).squared_norm(call, delta, kept[call]).items():
                    full = call.parameters[local]
                    if full not in passed.uncovered:
                        torch.testing.assert_close(values, gradients[full].reshape(5, -1).square().sum(1))

        residual = torch.softmax(passed.logits, 1) - targets
        passed.backward(residual, visit)
        along = dict.fromkeys(gradients, 0)
        passed.backward(residual, visit)
        for full in set(gradients) - set(passed.uncovered):
            expected = (gradients[full] * d[full]).reshape(5, -1).sum(1)
            torch.testing.assert_close(along[full] + torch.zeros(5, dtype=torch.float64), expected)


def test_what_is_not_covered_is_named_with_the_reason():
    with local_pass(net_of("attention"), images(3)[0]) as passed:
        assert {name.rpartition(".")[0] for name in passed.uncovered} == {"attend", "attend.out_proj"}
    with local_pass(net_of("tied-functionally"), images(3)[0]) as passed:
        assert passed.uncovered == {"head.weight": "it is used outside its module's forward pass"}
        assert passed.repeated == {"second.weight"}
    with local_pass(net_of("twice"), images(3)[0]) as passed:
        assert passed.repeated == {"again.weight", "again.bias"}
        assert [call.number for call in passed.calls if call.name == "again"] == [0, 1]
    with local_pass(net_of("own"), images(3)[0]) as passed:
        assert not passed.uncovered
        assert "head.bias" not in {full for call in passed.calls for full in call.parameters.values()}


def test_an_overwritten_input_is_kept_as_it_was():
    net, (x, _) = net_of("overwritten"), images(3)
    with local_pass(net, x) as passed:
        (call,) = (call for call in passed.calls if call.name == "scale")
        assert call.input.abs().sum() > 0


def test_samples_that_depend_on_each_other_are_refused():
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, K), nn.BatchNorm1d(K, track_running_stats=False)).double().eval()
    with pytest.raises(ProbeError, match="batch norm '2' uses the batch's own statistics"):
        per_sample_norms(net, *images(3)[:1], targets_of(3))


@pytest.mark.parametrize("times", [1, 9])
@pytest.mark.parametrize("shape", [(5, 4, 1), (20, 3, 4), (3, 2, 30)])
def test_both_ways_of_summing_outer_products_are_one_number(shape, times):
    size, out, length = shape
    stream = torch.Generator().manual_seed(0)
    a, d = (torch.randn(21, rows, length, generator=stream, dtype=torch.float64) for rows in (size, out))
    expected = torch.einsum("noi,noi->n", *(torch.einsum("nol,nil->noi", d, a),) * 2)
    kept = CallCache(times)
    for _ in range(2):
        torch.testing.assert_close(outer_squared_norm(a, d, kept), expected)
    assert ("gram" in kept.store) == (length > 1 and gram_is_cheaper(size, out, length, times))
    assert gram_is_cheaper(20, 3, 4, 1) is False
    assert gram_is_cheaper(1152, 128, 16, 1)


def test_mean_error_and_quantiles_are_those_of_the_norms():
    net, (x, y) = net_of("mlp"), images(N)
    found = per_sample_norms(net, x, functional.one_hot(y, K))
    assert found.mean == pytest.approx(found.norms.mean().item())
    assert found.stderr == pytest.approx((found.norms.std() / N**0.5).item())
    assert found.quantiles([0.5])[0.5] == pytest.approx(found.norms.median().item())
    assert list(found.quantiles()) == [0.05, 0.25, 0.5, 0.75, 0.95]
    assert per_sample_norms(net, x[:1], functional.one_hot(y[:1], K)).stderr is None


def net32():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SmallCNN(ModelSpec(K, (1, 8, 8)), width=2).eval()


def flops(compute):
    with FlopCounterMode(display=False) as counter:
        compute()
    return counter.get_flop_counts()["Global"]


def test_one_forward_and_one_backward_pass_whatever_the_number_of_samples():
    net, forward, samples = net32(), None, 64
    conv = torch.ops.aten.convolution
    backward = torch.ops.aten.convolution_backward
    per_sample_norms(net, torch.rand(2, 1, 8, 8), torch.full((2, K), 1 / K))  # tries once whether the formulas hold
    for n in (samples, 4 * samples):
        x, t = torch.rand(n, 1, 8, 8), torch.full((n, K), 1 / K)
        with torch.no_grad():
            forward = flops(lambda x=x: net(x))[conv]
        found = flops(lambda x=x, t=t: per_sample_norms(net, x, t))
        assert found[conv] == forward
        assert 0 < found[backward] <= forward  # derivatives of activations alone, none of the images


def test_memory_does_not_grow_with_the_samples():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(18, K))
    peaks = []
    for n in (1000, 10_000):
        x, t = torch.rand(n, 1, 5, 5), torch.full((n, K), 1 / K)
        peaks.append(peak_bytes(lambda x=x, t=t: per_sample_norms(net, x, t)))
    norms = 8 * 9000
    assert peaks[1] - peaks[0] <= 4 * norms
    assert peaks[0] > 0
