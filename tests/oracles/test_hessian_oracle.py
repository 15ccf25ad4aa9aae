"""Hessian trace and top eigenvalue against the dense Hessian, closed forms and PyHessian."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, hessian
from torch.nn import functional

from overfit_lab.errors import ProbeError
from overfit_lab.probes.metrics.hessian import (
    exact_trace,
    hessian_product,
    hutchinson_trace,
    pyhessian_summary,
    top_eigenvalue,
    trainable,
)

N, K = 30, 3

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # torch's own use, in `dense`


def example(dtype=torch.float64):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, K))
    stream = torch.Generator().manual_seed(1)
    x = torch.rand(N, 1, 2, 2, generator=stream, dtype=dtype)
    return net.to(dtype).eval(), x, torch.randint(K, (N,), generator=stream)


def dense(net, x, y):
    names = [name for name, _ in net.named_parameters()]
    parameters = [p.detach() for p in net.parameters()]
    sizes = [p.numel() for p in parameters]

    def loss(flat):
        pieces = [piece.view_as(p) for piece, p in zip(flat.split(sizes), parameters, strict=True)]
        return functional.cross_entropy(functional_call(net, dict(zip(names, pieces, strict=True)), (x,)), y)

    return hessian(loss)(torch.cat([p.flatten() for p in parameters]))


def test_products_equal_the_dense_hessian():
    net, x, y = example()
    h = dense(net, x, y)
    product = hessian_product(net, x, y, batch_size=7)
    like = trainable(net)
    sizes = [p.numel() for p in like]
    for i in range(0, len(h), 5):
        unit = torch.zeros(len(h), dtype=torch.float64)
        unit[i] = 1
        image = product([piece.view_as(p) for piece, p in zip(unit.split(sizes), like, strict=True)])
        torch.testing.assert_close(torch.cat([v.flatten() for v in image]), h[i], atol=1e-12, rtol=1e-9)


def test_trace_is_within_its_standard_error_of_the_dense_trace():
    net, x, y = example()
    truth = dense(net, x, y).trace().item()
    stream = torch.Generator().manual_seed(3)
    found = hutchinson_trace(
        hessian_product(net, x, y, 30), trainable(net), generator=stream, max_vectors=400, tolerance=0
    )
    assert found.n_vectors == 400
    assert abs(found.value - truth) < 3 * found.stderr
    assert found.stderr < 0.06 * truth


def test_standard_error_covers_the_truth_at_the_stated_rate():
    """Over 200 seeds the interval of two standard errors holds the truth in about 95% of the cases."""
    net, x, y = example()
    h = dense(net, x, y)
    truth = h.trace().item()
    like = trainable(net)
    sizes = [p.numel() for p in like]

    def product(vector):
        image = h @ torch.cat([v.flatten() for v in vector])
        return [piece.view_as(p) for piece, p in zip(image.split(sizes), like, strict=True)]

    covered = 0
    for seed in range(200):
        stream = torch.Generator().manual_seed(seed)
        found = hutchinson_trace(product, like, generator=stream, max_vectors=20, tolerance=0)
        covered += abs(found.value - truth) <= 2.09 * found.stderr  # t quantile for 19 degrees of freedom
    assert 178 <= covered <= 199


def test_softmax_regression_has_a_closed_form_trace():
    """For logits W x the Hessian is the mean of (diag p - p p^T) kron x x^T."""
    stream = torch.Generator().manual_seed(4)
    x = torch.rand(N, 4, 1, 1, generator=stream, dtype=torch.float64)
    y = torch.randint(K, (N,), generator=stream)
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, K, bias=False)).double()
    p = torch.softmax(net(x), 1).detach()
    truth = ((1 - p.square().sum(1)) * x.flatten(1).square().sum(1)).mean().item()
    found = hutchinson_trace(
        hessian_product(net, x, y, 30), trainable(net), generator=stream, max_vectors=2000, tolerance=0
    )
    assert abs(found.value - truth) < 3 * found.stderr
    assert found.stderr < 0.02 * truth


def test_top_eigenvalue_equals_the_dense_one():
    net, x, y = example()
    values = np.linalg.eigvalsh(dense(net, x, y).numpy())
    expected = values[np.abs(values).argmax()]
    found = top_eigenvalue(
        hessian_product(net, x, y, 30), trainable(net), generator=torch.Generator().manual_seed(0), tolerance=1e-8
    )
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_top_eigenvalue_of_very_few_parameters(size):
    weights = [nn.Parameter(torch.arange(1.0, size + 1, dtype=torch.float64))]
    found = top_eigenvalue(lambda v: [v[0] * weights[0].detach()], weights, generator=torch.Generator().manual_seed(0))
    assert found == pytest.approx(size, rel=1e-3)


def test_pyhessian_agrees_within_the_standard_errors():
    net, x, y = example(torch.float32)
    ours = hutchinson_trace(
        hessian_product(net, x, y, 30),
        trainable(net),
        generator=torch.Generator().manual_seed(0),
        max_vectors=200,
        tolerance=0,
    )
    before = [p.clone() for p in net.parameters()]
    state = torch.get_rng_state()
    theirs, top = pyhessian_summary(net, x, y, seed=1, max_vectors=200, tolerance=0)
    assert theirs.n_vectors == 200
    assert abs(exact_trace(net, x).value - theirs.value) < 3 * theirs.stderr
    assert abs(ours.value - theirs.value) < 3 * (ours.stderr**2 + theirs.stderr**2) ** 0.5
    truth = np.linalg.eigvalsh(dense(net.double(), x.double(), y).numpy())
    assert top == pytest.approx(truth[np.abs(truth).argmax()], rel=1e-2)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(a, b.float()) for a, b in zip(before, net.parameters(), strict=True))


def test_a_frozen_parameter_is_left_out_by_both():
    net, x, y = example(torch.float32)
    net[1].weight.requires_grad_(False)
    stream = torch.Generator().manual_seed(0)
    ours = hutchinson_trace(
        hessian_product(net, x, y, 30), trainable(net), generator=stream, max_vectors=200, tolerance=0
    )
    theirs, _ = pyhessian_summary(net, x, y, seed=1, max_vectors=200, tolerance=0)
    assert abs(ours.value - theirs.value) < 3 * (ours.stderr**2 + theirs.stderr**2) ** 0.5
    h = dense(net.double(), x.double(), y)
    frozen = 4 * 5
    assert abs(ours.value - h[frozen:, frozen:].trace().item()) < 3 * ours.stderr


def test_pyhessian_with_an_unused_parameter_is_refused_in_one_line():
    net, x, y = example(torch.float32)
    net.register_parameter("unused", nn.Parameter(torch.ones(2)))
    with pytest.raises(ProbeError, match="unused parameter"):
        pyhessian_summary(net, x, y, seed=0)
    found = hutchinson_trace(
        hessian_product(net, x, y, 30), trainable(net), generator=torch.Generator().manual_seed(0), max_vectors=3
    )
    assert np.isfinite(found.value)


def test_stops_at_the_tolerance():
    like = [torch.zeros(1000, dtype=torch.float64)]
    found = hutchinson_trace(lambda v: [2 * v[0]], like, generator=torch.Generator().manual_seed(0), tolerance=0.1)
    assert found.value == 2000
    assert found.n_vectors == 5
