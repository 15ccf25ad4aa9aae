"""What holds for numbers of a model's gradient and curvature, for any weights, images and labels."""

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from cases import few, shuffled
from overfit_lab.probes.metrics.gradient_norm import gradient_norm
from overfit_lab.probes.metrics.hessian import hessian_product, hutchinson_trace, random_signs, top_eigenvalue
from overfit_lab.probes.metrics.iiw import distance, iiw

estimators = st.sampled_from(["empirical-fisher", "expected-fisher"])


def problem(seed, n, k, *, linear=False):
    """A small model with random weights, images (n, 1, 2, 2), and labels (n,)."""
    stream = torch.Generator().manual_seed(seed)
    hidden = [] if linear else [nn.Linear(4, 5), nn.Tanh()]
    with torch.random.fork_rng(devices=[]):
        model = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(4 if linear else 5, k)).eval()
    for p in model.parameters():
        p.data = torch.randn(p.shape, generator=stream)
    return model, torch.rand(n, 1, 2, 2, generator=stream), torch.randint(k, (n,), generator=stream)


@st.composite
def problems(draw, *, least=1, linear=False):
    return problem(draw(st.integers(0, 10_000)), draw(st.integers(least, 12)), draw(st.integers(2, 5)), linear=linear)


def displacement(model, seed):
    stream = torch.Generator().manual_seed(seed)
    return {name: torch.randn(p.shape, generator=stream) for name, p in model.named_parameters()}


def hot(y, model):
    return functional.one_hot(y, model[-1].out_features).float()


@few
@given(problems(), st.integers(1, 12))
def test_parts_and_whole_of_a_gradient(case, batch_size):
    model, x, y = case
    found = gradient_norm(model, x, hot(y, model), batch_size)
    assert found.full >= 0
    assert found.full == pytest.approx(math.hypot(*found.layers.values()), rel=1e-9)
    assert found.layers.keys() == {"1", "3"}
    for stderr, n in ((found.full_stderr, len(y)), (found.minibatch_stderr, -(-len(y) // batch_size))):
        assert (stderr is None) == (n == 1)
        assert stderr is None or stderr >= 0
    if len(y) % batch_size == 0:
        assert found.minibatch >= found.full * (1 - 1e-6)
    if batch_size >= len(y):
        assert found.minibatch == pytest.approx(found.full, rel=1e-6)


@few
@given(problems(least=2), st.integers(1, 12), st.data())
def test_the_full_gradient_knows_neither_order_nor_batches(case, batch_size, data):
    """To 1e-4 relative, in float32; the mini-batch reading depends on both, and is the same for batches of one."""
    model, x, y = case
    order = shuffled(data.draw, len(y))
    found = gradient_norm(model, x, hot(y, model), batch_size)
    other = gradient_norm(model, x[order], hot(y[order], model), len(y))
    assert other.full == pytest.approx(found.full, rel=1e-4, abs=1e-6)
    assert other.full_stderr == pytest.approx(found.full_stderr, rel=1e-3, abs=1e-5)
    assert other.layers == pytest.approx(found.layers, rel=1e-4, abs=1e-6)
    single, shuffled_single = (gradient_norm(model, x[o], hot(y[o], model), 1) for o in (slice(None), order))
    assert shuffled_single.minibatch == pytest.approx(single.minibatch, rel=1e-4)


@few
@given(problems())
def test_labels_of_the_model_itself_leave_no_gradient(case):
    model, x, _ = case
    found = gradient_norm(model, x, torch.softmax(model(x).detach(), dim=1), 5)
    assert found.full == pytest.approx(0, abs=1e-5)
    assert found.minibatch == pytest.approx(0, abs=1e-5)


@few
@given(problems(least=2), estimators, st.integers(1, 12), st.data())
def test_information_in_weights_knows_neither_order_nor_batches(case, estimator, batch_size, data):
    """To 1e-4 relative, in float32. What PIB's code computes depends on both, and is refused this test."""
    model, x, y = case
    d = displacement(model, 1)
    order = shuffled(data.draw, len(y))
    found = iiw(model, x, y, d, n_train=50, estimator=estimator, batch_size=batch_size)
    other = iiw(model, x[order], y[order], d, n_train=50, estimator=estimator)
    assert found.n == other.n == len(y)
    assert found.value >= 0
    assert other.value == pytest.approx(found.value, rel=1e-4, abs=1e-6)
    assert other.stderr == pytest.approx(found.stderr, rel=1e-3, abs=1e-5)


@few
@given(problems(), estimators | st.just("pib-reference"), st.floats(-3, 3), st.integers(1, 1000))
def test_information_in_weights_is_quadratic_in_the_way_and_linear_in_the_samples(case, estimator, factor, n_train):
    model, x, y = case
    d = displacement(model, 2)

    def value(scale, n):
        moved = {name: scale * t for name, t in d.items()}
        return iiw(model, x, y, moved, n_train=n, estimator=estimator, batch_size=4).value

    assert value(factor, n_train) == pytest.approx(factor**2 * n_train * value(1, 1), rel=1e-4, abs=1e-6)
    assert value(0, n_train) == 0
    moved = {name: factor * t for name, t in d.items()}
    assert distance(moved) == pytest.approx(abs(factor) * distance(d), rel=1e-6)


@few
@given(problems(), st.integers(1, 4))
def test_pib_shrinks_with_the_batch_and_is_the_fisher_of_single_samples(case, batch_size):
    """A mean is squared after averaging, which by Jensen is less; batches of one average nothing."""
    model, x, y = case
    d = displacement(model, 3)
    fisher = iiw(model, x, y, d, n_train=1).value
    single = iiw(model, x, y, d, n_train=1, estimator="pib-reference", batch_size=1).value
    assert single == pytest.approx(fisher, rel=1e-5, abs=1e-9)
    if len(y) % batch_size == 0:
        pib = iiw(model, x, y, d, n_train=1, estimator="pib-reference", batch_size=batch_size).value
        assert 0 <= pib <= fisher * (1 + 1e-5) + 1e-9


@few
@given(problems(), st.integers(1, 12), st.data())
def test_the_hessian_is_linear_and_symmetric_and_knows_neither_order_nor_batches(case, batch_size, data):
    model, x, y = case
    model, x = model.double(), x.double()
    order = shuffled(data.draw, len(y))
    product = hessian_product(model, x, y, batch_size)
    other = hessian_product(model, x[order], y[order], len(y))
    stream = torch.Generator().manual_seed(0)
    like = list(model.parameters())
    u, v = ([torch.randn(p.shape, generator=stream, dtype=p.dtype) for p in like] for _ in range(2))
    hu, hv = product(u), product(v)
    assert inner(u, hv) == pytest.approx(inner(v, hu), rel=1e-9, abs=1e-9)
    torch.testing.assert_close(other(u), hu, rtol=1e-9, atol=1e-9)
    both = product([2 * a - 3 * b for a, b in zip(u, v, strict=True)])
    torch.testing.assert_close(both, [2 * a - 3 * b for a, b in zip(hu, hv, strict=True)], rtol=1e-9, atol=1e-9)


def inner(u, v):
    return sum((a * b).sum().item() for a, b in zip(u, v, strict=True))


@few
@given(problems(linear=True))
def test_a_linear_model_has_no_negative_curvature(case):
    """Cross entropy is convex in the logits: no quadratic form, no trace and no top eigenvalue is below 0."""
    model, x, y = case
    model, x = model.double(), x.double()
    product, like = hessian_product(model, x, y, 5), list(model.parameters())
    stream = torch.Generator().manual_seed(0)
    trace = hutchinson_trace(product, like, generator=stream, max_vectors=6, tolerance=0)
    top = top_eigenvalue(product, like, generator=stream)
    assert trace.value >= 0
    assert trace.stderr >= 0
    assert trace.n_vectors == 6
    assert top >= 0
    v = random_signs_like(like, stream)
    assert -1e-9 <= inner(v, product(v)) <= top * inner(v, v) * (1 + 1e-2) + 1e-12


def random_signs_like(like, stream):
    return [random_signs(p, stream) for p in like]


@few
@given(
    st.lists(st.floats(-100, 100), min_size=1, max_size=6),
    st.integers(0, 100),
    st.integers(2, 8),
    st.sampled_from([0, 0.05]),
)
def test_of_a_diagonal_matrix_every_sign_vector_gives_the_trace(diagonal, seed, most, tolerance):
    """So its error is 0, and with a tolerance it stops at the least number of vectors."""
    entries = torch.tensor(diagonal, dtype=torch.float64)
    assume(abs(entries).max() > 1e-3)
    stream = torch.Generator().manual_seed(seed)
    found = hutchinson_trace(
        lambda v: [entries * v[0]], [entries], generator=stream, max_vectors=most, min_vectors=3, tolerance=tolerance
    )
    assert found.value == pytest.approx(sum(diagonal), abs=1e-9)
    assert found.stderr == pytest.approx(0, abs=1e-9)
    largest = max(diagonal, key=abs)
    if -largest not in diagonal:
        top = top_eigenvalue(lambda v: [entries * v[0]], [entries], generator=stream)
        assert abs(top) == pytest.approx(abs(largest), rel=5e-3)
