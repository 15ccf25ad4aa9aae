"""Every estimator of the Hessian's trace, its eigenvalues and its density against the dense Hessian."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from memory import peak_bytes
from nets import CURVED, LINEAR, K, images, net_of
from overfit_lab.errors import ProbeError
from overfit_lab.models.small_cnn import SmallCNN
from overfit_lab.models.spec import ModelSpec
from overfit_lab.probes.metrics.hessian import (
    exact_trace,
    ggn_product,
    hessian_product,
    hutchinson_trace,
    hutchpp_trace,
    piecewise_linear,
    sampled_trace,
    spectral_density,
    top_eigenvalues,
    trainable,
)
from overfit_lab.probes.metrics.hessian.exact import output_columns
from overfit_lab.probes.metrics.layers import group_by_layer

N = 18


def small(name="mlp"):
    """A network of few weights with its images, labels and dense matrices."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        hidden = nn.ReLU() if name == "mlp" else nn.Tanh()
        net = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.BatchNorm1d(5), hidden, nn.Linear(5, 3)).double().eval()
    stream = torch.Generator().manual_seed(1)
    x = torch.rand(N, 1, 2, 2, generator=stream, dtype=torch.float64)
    return net, x, torch.randint(3, (N,), generator=stream)


def dense(net, x, y):
    """The Hessian of the mean cross entropy, by nested reverse mode, row by row."""
    weights = [p for p in net.parameters() if p.requires_grad]
    loss = functional.cross_entropy(net(x), y)
    first = torch.cat(
        [g.flatten() for g in torch.autograd.grad(loss, weights, create_graph=True, materialize_grads=True)]
    )
    rows = []
    for entry in first:
        if not entry.requires_grad:
            rows.append(torch.zeros_like(first))
            continue
        second = torch.autograd.grad(entry, weights, retain_graph=True, materialize_grads=True)
        rows.append(torch.cat([s.flatten() for s in second]))
    return torch.stack(rows).detach()


def dense_ggn(net, x):
    """mean_i J_i^T (diag p_i - p_i p_i^T) J_i from the logits' Jacobians."""
    weights = [p for p in net.parameters() if p.requires_grad]
    total = 0
    for i in range(len(x)):
        z = net(x[i : i + 1])[0]
        rows = [torch.autograd.grad(v, weights, retain_graph=True, materialize_grads=True) for v in z]
        jacobian = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])
        p = torch.softmax(z.detach(), 0)
        total = total + jacobian.T @ (torch.diag(p) - torch.outer(p, p)) @ jacobian
    return total / len(x)


def blocks(net, h):
    """Layer to the trace of its diagonal block."""
    sizes = {name: p.numel() for name, p in net.named_parameters() if p.requires_grad}
    at, sums = 0, {}
    for name, size in sizes.items():
        sums[name] = h.diagonal()[at : at + size].sum().item()
        at += size
    return {layer: sum(sums[m] for m in members) for layer, members in group_by_layer(sizes).items()}


def stacked(net, m, seed=0):
    stream = torch.Generator().manual_seed(seed)
    return [torch.randn(m, *p.shape, generator=stream, dtype=p.dtype) for p in trainable(net)]


def flat(vectors):
    return torch.cat([v.flatten(1) for v in vectors], 1)


@pytest.mark.parametrize("name", ["mlp", "tanh"])
def test_products_with_many_vectors_equal_the_dense_matrices(name):
    net, x, y = small(name)
    v = stacked(net, 7)
    for product, matrix in ((hessian_product, dense(net, x, y)), (ggn_product, dense_ggn(net, x))):
        run = product(net, x, y, 5)
        torch.testing.assert_close(flat(run.many(v)), flat(v) @ matrix, rtol=1e-9, atol=1e-12)
        one = torch.cat([t.flatten() for t in run([t[2] for t in v])])
        torch.testing.assert_close(one, flat(v)[2] @ matrix, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["mlp", "own", "in-place"])
def test_the_exact_trace_is_that_of_the_dense_hessian_by_layer_and_whatever_the_labels(name):
    net, (x, y) = (small()[0], small()[1:]) if name == "mlp" else (net_of(name), images(3))
    h = dense(net, x, y)
    found = exact_trace(net, x)
    assert found.value == pytest.approx(h.trace().item(), rel=1e-10)
    assert {layer: part.value for layer, part in found.layers.items()} == pytest.approx(blocks(net, h), abs=1e-12)
    assert found.over == "samples"


def test_hessian_and_gauss_newton_have_one_diagonal_and_are_different_matrices():
    net, x, y = small()
    h, g = dense(net, x, y), dense_ggn(net, x)
    torch.testing.assert_close(h.diagonal(), g.diagonal(), rtol=1e-10, atol=1e-14)
    assert (h - g).norm() > 0.1 * h.norm()
    net, x, y = small("tanh")
    assert abs(exact_trace(net, x).value - dense(net, x, y).trace().item()) > 1e-3  # hence the check


def test_logistic_regression_in_closed_form():
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, K)).double()
    x, _ = images(N)
    p = torch.softmax(net(x), 1).detach()
    each = (p * (1 - p)).sum(1) * (x.flatten(1).square().sum(1) + 1)
    found = exact_trace(net, x)
    assert found.value == pytest.approx(each.mean().item(), rel=1e-12)
    assert found.stderr == pytest.approx((each.std() / N**0.5).item(), rel=1e-10)
    assert exact_trace(net, x[:1]).stderr is None


@pytest.mark.parametrize("peak", [0, 3, 1000])
def test_the_columns_square_to_the_softmax_covariance(peak):
    p = torch.softmax(torch.tensor([[0.0, peak, -1, 2], [peak, 0, 0, 1], [1, 1, 1, 1]], dtype=torch.float64), 1)
    s = output_columns(p)
    assert s.shape == (3, 3, 4)
    expected = torch.diag_embed(p) - p.unsqueeze(2) * p.unsqueeze(1)
    torch.testing.assert_close(torch.einsum("cbi,cbj->bij", s, s), expected, atol=1e-15, rtol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", [*LINEAR, *CURVED])
def test_the_check_takes_what_is_piecewise_linear_and_nothing_else(name, dtype):
    net, (x, _) = net_of(name).to(dtype), images(6)
    state = {key: value.clone() for key, value in net.state_dict().items()}
    stream = torch.get_rng_state()
    holds, reason = piecewise_linear(net, x.to(dtype))
    assert holds is (name in LINEAR), reason
    assert bool(reason) == (name in CURVED)
    assert "\n" not in reason
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert torch.equal(stream, torch.get_rng_state())
    assert all(p.grad is None for p in net.parameters())


def test_the_check_refuses_batch_norm_on_the_batch_and_does_not_move_it():
    net, (x, _) = net_of("mlp").train(), images(6)
    before = net.layers[1].running_mean.clone()
    holds, reason = piecewise_linear(net, x)
    assert holds is False
    assert "the batch's own statistics" in reason
    assert torch.equal(before, net.layers[1].running_mean)


def test_without_finite_logits_there_is_no_answer():
    net, (x, _) = net_of("mlp"), images(3)
    net.linear.weight.data.fill_(float("nan"))
    assert piecewise_linear(net, x)[0] is None
    assert np.isnan(exact_trace(net, x).value)


def of_matrix(h):
    """The product of a dense matrix, and a vector's shape."""

    def product(v):
        return [h @ v[0]]

    return product, [torch.zeros(len(h), dtype=h.dtype)]


def interval_covers(found, truth, draws):
    return abs(found.value - truth) <= stats.t.ppf(0.975, draws - 1) * found.stderr


@pytest.mark.parametrize(
    ("estimate", "draws"),
    [
        (lambda run, like, g: hutchinson_trace(run, like, generator=g, max_vectors=20, tolerance=0), 20),
        (lambda run, like, g: hutchpp_trace(run, like, generator=g, max_products=30, tolerance=0), 10),
    ],
)
def test_over_random_vectors_the_error_covers_the_truth_and_there_is_no_bias(estimate, draws):
    net, x, y = small("tanh")
    h = dense(net, x, y)
    truth = h.trace().item()
    found = [estimate(*of_matrix(h), torch.Generator().manual_seed(seed)) for seed in range(200)]
    assert 0.90 <= np.mean([interval_covers(f, truth, draws) for f in found]) <= 0.985
    values = np.array([f.value for f in found])
    assert abs(values.mean() - truth) < 3 * values.std() / 200**0.5


def test_layers_of_random_estimators_are_unbiased():
    net, x, y = small("tanh")
    h = dense(net, x, y)
    layers = {"head": list(range(10)), "tail": list(range(10, len(h)))}
    product, _ = of_matrix(h)
    like = [torch.zeros((), dtype=torch.float64) for _ in h]

    def split(v):
        return list(product([torch.stack(list(v))])[0])

    truth = {"head": h.diagonal()[:10].sum().item(), "tail": h.diagonal()[10:].sum().item()}
    for estimate in (
        lambda g: hutchinson_trace(split, like, generator=g, max_vectors=10, tolerance=0, layers=layers),
        lambda g: hutchpp_trace(split, like, generator=g, max_products=15, tolerance=0, layers=layers),
    ):
        found = [estimate(torch.Generator().manual_seed(seed)).layers for seed in range(30)]
        for layer, value in truth.items():
            each = np.array([f[layer].value for f in found])
            assert abs(each.mean() - value) < 3.5 * each.std() / 30**0.5


def test_hutchpp_is_exact_on_a_matrix_of_low_rank_and_beats_hutchinson_on_a_decaying_one():
    stream = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(60, 60, generator=stream, dtype=torch.float64))[0]
    low = basis[:, :4] @ torch.diag(torch.tensor([5.0, -3, 2, 1], dtype=torch.float64)) @ basis[:, :4].T
    found = hutchpp_trace(*of_matrix(low), generator=stream)
    assert found.value == pytest.approx(5, rel=1e-9)
    assert found.stderr == pytest.approx(0, abs=1e-9)
    assert found.n_vectors < 30
    decaying = basis @ torch.diag(0.5 ** torch.arange(60, dtype=torch.float64)) @ basis.T
    plus = hutchpp_trace(*of_matrix(decaying), generator=stream, tolerance=0)
    plain = hutchinson_trace(*of_matrix(decaying), generator=stream, tolerance=0)
    assert plus.stderr < 0.05 * plain.stderr
    assert plus.n_vectors == plain.n_vectors == 30


def test_over_samples_the_error_covers_the_population():
    net, (x, _) = net_of("leaky"), images(3000)
    truth = exact_trace(net, x).value
    stream = torch.Generator().manual_seed(5)
    subsets = [torch.randint(len(x), (30,), generator=stream) for _ in range(200)]
    exact = [exact_trace(net, x[rows]) for rows in subsets]
    sampled = [sampled_trace(net, x[rows], generator=stream) for rows in subsets]
    for found in (exact, sampled):
        assert 0.90 <= np.mean([interval_covers(f, truth, 30) for f in found]) <= 0.985
        values = np.array([f.value for f in found])
        assert abs(values.mean() - truth) < 3 * values.std() / 200**0.5
    assert np.std([f.value for f in sampled]) > np.std([f.value for f in exact])
    many = sampled_trace(net, x[:30], generator=stream, n_vectors=200)
    assert many.value == pytest.approx(exact_trace(net, x[:30]).value, rel=0.02)


@pytest.mark.parametrize("name", ["mlp", "tanh"])
def test_the_largest_eigenvalues_equal_the_dense_ones(name):
    net, x, y = small(name)
    values = np.linalg.eigvalsh(dense(net, x, y).numpy())
    values = values[np.argsort(-np.abs(values))]
    stream = torch.Generator().manual_seed(0)
    found = top_eigenvalues(hessian_product(net, x, y, N), trainable(net), 4, generator=stream, tolerance=1e-8)
    assert [each.value for each in found] == pytest.approx(values[:4], rel=1e-6)
    tiny = [torch.zeros(2, dtype=torch.float64)]
    assert top_eigenvalues(lambda v: [v[0] * 3], tiny, 5, generator=stream) == [(3, 0), (3, 0)]


def test_moments_of_the_density_are_those_of_the_dense_hessian():
    net, x, y = small("tanh")
    h = dense(net, x, y)
    run, like = of_matrix(h)
    found = spectral_density(run, like, generator=torch.Generator().manual_seed(0), n_vectors=200, steps=12)
    for power, truth in ((0, len(h)), (1, h.trace().item()), (2, h.square().sum().item())):
        value, stderr = found.moment(power)
        assert abs(value - truth) <= 3 * stderr + 1e-9
    assert np.trapezoid(found.density, found.grid) == pytest.approx(1, abs=1e-3)
    assert np.nanmax(found.nodes) == pytest.approx(torch.linalg.eigvalsh(h).max().item(), rel=1e-6)
    assert (found.weights >= 0).all()


def test_a_density_whose_iterations_end_early_has_all_eigenvalues():
    h = torch.diag(torch.tensor([1.0, 1, 1, 4], dtype=torch.float64))
    found = spectral_density(*of_matrix(h), generator=torch.Generator().manual_seed(0), n_vectors=2, steps=4)
    known = np.isfinite(found.nodes)
    assert known.sum(1).tolist() == [2, 2]
    assert found.nodes[known] == pytest.approx([1, 4, 1, 4])
    assert found.weights[known] == pytest.approx([0.75, 0.25, 0.75, 0.25])
    small = spectral_density(*of_matrix(h * 2.0**-60), generator=torch.Generator().manual_seed(0), n_vectors=2, steps=4)
    assert small.density * 2.0**-60 == pytest.approx(found.density)
    nan = spectral_density(*of_matrix(h * float("nan")), generator=torch.Generator().manual_seed(0))
    assert np.isnan(nan.density).all()


def passes(compute):
    """Arithmetic in convolutions, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        compute()
    found = counter.get_flop_counts()["Global"]
    return found[torch.ops.aten.convolution], found[torch.ops.aten.convolution_backward]


def convolutional():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SmallCNN(ModelSpec(K, (1, 8, 8)), width=2).eval()


@pytest.mark.parametrize("n", [16, 80])
def test_the_exact_trace_takes_one_forward_and_as_many_backward_passes_as_classes_less_one(n):
    net, x = convolutional(), torch.rand(n, 1, 8, 8)

    def plain():
        with torch.no_grad():
            net(x)

    with FlopCounterMode(display=False) as counter:
        plain()
    forward = counter.get_flop_counts()["Global"][torch.ops.aten.convolution]
    exact_trace(net, x[:2])  # tries once whether the layers' formulas hold
    one = passes(lambda: sampled_trace(net, x, generator=torch.Generator().manual_seed(0)))
    whole = passes(lambda: exact_trace(net, x))
    assert one[0] == whole[0] == forward
    assert whole[1] == (K - 1) * one[1]
    assert one[1] <= forward


def test_vectors_together_share_the_forward_pass():
    net, x, y = convolutional(), torch.rand(20, 1, 8, 8), torch.randint(K, (20,))
    run = hessian_product(net, x, y, 20)
    calls = {"n": 0}
    handle = net.register_forward_pre_hook(lambda *_: calls.update(n=calls["n"] + 1))
    run.many([torch.randn(5, *p.shape) for p in trainable(net)])
    handle.remove()
    assert calls["n"] == 1


def test_memory_of_the_trace_does_not_grow_with_the_samples():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(18, 3))
    peaks = []
    for n in (1000, 10_000):
        x = torch.rand(n, 1, 5, 5)
        peaks.append(peak_bytes(lambda x=x: exact_trace(net, x)))
    assert 0 < peaks[1] <= 1.01 * peaks[0]


def test_exactly_is_refused_where_it_does_not_hold():
    from factories import awkward_model, make_snapshot
    from overfit_lab.config.options import parse_options
    from overfit_lab.probes.base import run_probe
    from overfit_lab.probes.hessian import HessianProbe

    def measured(model, **options):
        probe = HessianProbe(parse_options(HessianProbe, {"n": 30, **options}, prefix="hessian"))
        measurement, _ = run_probe(probe, make_snapshot(model))
        return {value.field: value for value in measurement.values}, measurement.arrays

    smooth = awkward_model()
    smooth.act = nn.GELU()
    for estimator in ("exact", "sampled"):
        with pytest.raises(ProbeError, match=r"not piecewise linear in 'conv\.weight'; use estimator hutchinson"):
            measured(smooth, estimator=estimator)
    auto, _ = measured(smooth, max_probes=4, top_k=0)
    assert auto["piecewise_linear"].value == 0
    assert auto["trace"] == measured(smooth, max_probes=4, estimator="hutchinson", top_k=0)[0]["trace"]
    exact, arrays = measured(awkward_model(), density=True, density_steps=6, top_k=3)
    assert exact["piecewise_linear"].value == 1
    assert exact["trace"] == measured(awkward_model(), estimator="exact", top_k=0)[0]["trace"]
    assert {"top_eigenvalue", "eigenvalue/2", "eigenvalue/3"} <= set(exact)
    assert arrays["density-train-adversarial"].shape == (2, 512)
    assert arrays["quadrature-train-adversarial"].shape == (2, 3, 6)
    parts = sum(value.value for field, value in exact.items() if field.startswith("layer/"))
    assert parts == pytest.approx(exact["trace"].value, rel=1e-6)
    plus, _ = measured(awkward_model(), estimator="hutch++", top_k=0, layers=False)
    assert set(plus) == {"trace", "piecewise_linear"}
    assert abs(plus["trace"].value - exact["trace"].value) < 4 * plus["trace"].stderr


def test_an_estimator_that_is_not_there_is_refused_with_those_that_are():
    from overfit_lab.config.options import parse_options
    from overfit_lab.errors import ConfigError
    from overfit_lab.probes.hessian import HessianProbe

    with pytest.raises(ConfigError, match="hutchinson") as caught:
        parse_options(HessianProbe, {"estimator": "hutchinsen"}, prefix="hessian")
    assert "\n" not in str(caught.value)


def test_the_check_is_made_once_for_a_model_and_again_when_it_changes(monkeypatch):
    from overfit_lab.probes.metrics.hessian import known_piecewise_linear, piecewise

    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    x, made = torch.rand(6, 1, 2, 2), []
    real = piecewise.piecewise_linear
    monkeypatch.setattr(piecewise, "piecewise_linear", lambda *a: made.append(1) or real(*a))
    assert [known_piecewise_linear(net, x) for _ in range(3)] == [(True, "")] * 3
    assert len(made) == 1
    net[2] = nn.Tanh()
    assert known_piecewise_linear(net, x)[0] is False
    assert len(made) == 2
    net[1].weight.data.fill_(float("nan"))
    net[2] = nn.ReLU()
    assert [known_piecewise_linear(net, x)[0] for _ in range(2)] == [None, None]
    assert len(made) == 4
