"""Thm. 1: the information falls with the share of uniform, within its bound; the Fisher form against autograd."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from overfit_lab.errors import ConfigError
from overfit_lab.theory.decomposition import memorising_weights, weight_information
from overfit_lab.theory.interpolation import (
    gradient_norms,
    information_bound,
    mix_labels,
    mixed_information,
    saturated_iiw,
    training_cap,
)

X, K, W = 3, 4, 5
GRID = [0.0, 0.1, 0.35, 0.6, 0.9, 1.0]


def random_joint(seed, shape=(X, K, W)):
    p = torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 3
    return p / p.sum()


def enumerated(joint, r):
    """p(x, y_r, w), true label by true label and drawn label by drawn label."""
    p = joint.numpy()
    mixed = np.zeros_like(p)
    for y in range(K):
        for k in range(K):
            mixed[:, k, :] += p[:, y, :] * ((1 - r) * (y == k) + r / K)
    return mixed


def naive_information(p):
    """I(w; y | x) as an average of divergences."""
    total = 0.0
    for joint in p:
        mass = joint.sum()
        for (k, w), value in np.ndenumerate(joint):
            if value > 0:
                total += value * math.log(value * mass / (joint[k].sum() * joint[:, w].sum()))
    return total


@pytest.mark.parametrize("r", GRID)
def test_the_mixed_joint_and_its_information_equal_enumeration(r):
    joint = random_joint(0)
    expected = enumerated(joint, r)
    np.testing.assert_allclose(mix_labels(joint, r).numpy(), expected, atol=1e-15)
    assert mixed_information(joint, r).item() == pytest.approx(naive_information(expected), abs=1e-13)


@pytest.mark.parametrize("seed", range(8))
def test_the_information_falls_to_zero_within_its_bound(seed):
    joint = random_joint(seed)
    values = [mixed_information(joint, r).item() for r in GRID]
    bounds = [information_bound(joint, r).item() for r in GRID]
    assert values[0] == pytest.approx(weight_information(joint).item(), abs=1e-14)
    assert values[0] == pytest.approx(bounds[0], abs=1e-14)
    assert values[-1] == pytest.approx(0, abs=1e-13)
    assert bounds[-1] == 0
    assert all(later < earlier for earlier, later in pairwise(values))
    assert all(value < bound for value, bound in zip(values[1:-1], bounds[1:-1], strict=True))


def test_two_mixings_are_one():
    joint = random_joint(1)
    twice = mix_labels(mix_labels(joint, 0.3), 0.5)
    torch.testing.assert_close(twice, mix_labels(joint, 0.3 + 0.5 - 0.15), atol=1e-15, rtol=0)


def test_full_memory_of_two_uniform_classes_by_hand():
    """A binary symmetric channel of flip rate r/2: log 2 - h(r/2)."""
    joint = memorising_weights(torch.full((1, 2), 0.5, dtype=torch.float64), 1.0)
    flip = 0.2
    entropy = -flip * math.log(flip) - (1 - flip) * math.log(1 - flip)
    assert mixed_information(joint, 2 * flip).item() == pytest.approx(math.log(2) - entropy, abs=1e-14)


@pytest.mark.parametrize("r", [0.2, 0.7])
def test_weights_trained_on_drawn_labels_stay_below_the_cap(r):
    """Weights drawn by any rule from (x, y_r), and what they know of y, by enumeration."""
    labels = random_joint(2, (X, K))
    rule = torch.softmax(4 * torch.randn(X, K, W, generator=torch.Generator().manual_seed(3), dtype=torch.float64), 2)
    p = np.zeros((X, K, W))
    for x in range(X):
        for y in range(K):
            for k in range(K):
                p[x, y] += labels[x, y].item() * ((1 - r) * (y == k) + r / K) * rule[x, k].numpy()
    cap = training_cap(labels, r).item()
    assert 0.01 < naive_information(p) < cap
    channel = np.array([[(1 - r) * (y == k) + r / K for k in range(K)] for y in range(K)])
    assert cap == pytest.approx(naive_information(labels.numpy()[:, :, None] * channel), abs=1e-13)


def fitted_fisher_form(labels, r):
    """The saturated model fitted by Newton's method, and E (d . gradient)^2 over (x, y) with autograd's gradients."""
    total = 0.0
    for row in labels:
        mass, p = row.sum(), row / row.sum()
        mean_target = (1 - r) * p + r / K
        z = torch.zeros(K, dtype=torch.float64)
        for _ in range(50):
            q = torch.softmax(z, 0)
            z = z + torch.linalg.pinv(torch.diag(q) - torch.outer(q, q)) @ (mean_target - q)
        for y in range(K):
            target = torch.full((K,), r / K, dtype=torch.float64)
            target[y] += 1 - r
            free = z.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(-(target * torch.log_softmax(free, 0)).sum(), free)
            total += (mass * p[y] * (gradient @ z) ** 2).item()
    return total


def positive_labels(seed):
    p = torch.rand(X, K, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1
    return p / p.sum()


@pytest.mark.parametrize("r", [0.0, 0.2, 0.8, 1.0])
def test_saturated_iiw_equals_a_fitted_model(r):
    labels = positive_labels(4)
    assert saturated_iiw(labels, r, 50).item() == pytest.approx(50 * fitted_fisher_form(labels, r), abs=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_saturated_iiw_falls(seed):
    values = [saturated_iiw(positive_labels(seed), r, 10).item() for r in GRID]
    assert all(later < earlier for earlier, later in pairwise(values))


def test_the_expected_fisher_form_may_rise():
    """The variance of log p_r under p_r itself grows with r for a nearly certain label: the docstring's exception."""

    def form(r):
        q = (1 - r) * np.array([0.999, 0.001]) + r / 2
        return (q * np.log(q) ** 2).sum() - (q * np.log(q)).sum() ** 2

    assert form(0.1) > 5 * form(0.0)
    rare = torch.tensor([[0.999, 0.001]], dtype=torch.float64)
    assert saturated_iiw(rare, 0.1, 1) < saturated_iiw(rare, 0.0, 1)


def regression(scale):
    stream = torch.Generator().manual_seed(6)
    weights = scale * torch.randn(K, 6, generator=stream, dtype=torch.float64)
    return weights, torch.randn(9, 6, generator=stream, dtype=torch.float64)


def smoothed(y, r):
    return (1 - r) * torch.eye(K, dtype=torch.float64)[y] + r / K


def test_gradient_norms_equal_autograd():
    weights, x = regression(1.0)
    targets = smoothed(torch.arange(9) % K, 0.3)
    expected = []
    for row, target in zip(x, targets, strict=True):
        free = weights.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(-(target * torch.log_softmax(free @ row, 0)).sum(), free)
        expected.append(gradient.norm())
    torch.testing.assert_close(gradient_norms(weights, x, targets), torch.stack(expected), atol=1e-12, rtol=0)


def test_smoothing_shrinks_the_norm_at_uniform_and_raises_it_at_certainty():
    weights, x = regression(0.0)
    y = torch.arange(9) % K
    flat = gradient_norms(weights, x, smoothed(y, 0.0))
    torch.testing.assert_close(gradient_norms(weights, x, smoothed(y, 0.4)), 0.6 * flat, atol=1e-12, rtol=0)
    weights, x = regression(30.0)
    sure = (x @ weights.T).argmax(1)
    assert (gradient_norms(weights, x, smoothed(sure, 0.4)) > gradient_norms(weights, x, smoothed(sure, 0.0))).all()


def test_refusals():
    with pytest.raises(ConfigError, match=r"r = -0.1: expected a share in \[0, 1\]"):
        mixed_information(random_joint(0), -0.1)
    with pytest.raises(ConfigError, match=r"r = nan"):
        information_bound(random_joint(0), math.nan)
    with pytest.raises(ConfigError, match="labels: smallest entry 0"):
        saturated_iiw(torch.eye(3, dtype=torch.float64) / 3, 0.2, 10)
    weights, x = regression(1.0)
    with pytest.raises(ConfigError, match=r"shapes \(4, 6\), \(9, 6\), \(8, 4\)"):
        gradient_norms(weights, x, smoothed(torch.arange(8) % K, 0.1))
