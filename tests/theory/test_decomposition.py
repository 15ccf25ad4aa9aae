"""Eq. 2 on random joints, on weights that know nothing or all, and term by term against loops."""

import math

import numpy as np
import pytest
import torch

from overfit_lab.errors import ConfigError
from overfit_lab.theory.decomposition import (
    decompose,
    expected_cross_entropy,
    expected_divergence,
    label_entropy,
    memorising_weights,
    weight_information,
)

X, K, W = 3, 4, 5


def random_joint(seed, zeros=False):
    stream = torch.Generator().manual_seed(seed)
    p = torch.rand(X, K, W, generator=stream, dtype=torch.float64)
    if zeros:
        p[torch.rand(X, K, W, generator=stream) < 0.4] = 0
        p[:, :, 0] = 0  # a weight that never occurs
    return p / p.sum()


def random_prediction(seed):
    stream = torch.Generator().manual_seed(100 + seed)
    return torch.softmax(torch.randn(X, K, W, generator=stream, dtype=torch.float64), 1)


def entropy(p):
    return -sum(v * math.log(v) for v in np.ravel(p) if v > 0)


def naive_terms(p, f):
    """H(y|x), E KL and I(w;y|x) from joint entropies and, for the KL, sample by sample."""
    p, f = p.numpy(), f.numpy()
    h_y_x = entropy(p.sum(2)) - entropy(p.sum((1, 2)))
    information = entropy(p.sum(1)) + entropy(p.sum(2)) - entropy(p) - entropy(p.sum((1, 2)))
    divergence = 0.0
    for x in range(X):
        for w in range(W):
            mass = p[x, :, w].sum()
            for y in range(K):
                if p[x, y, w] > 0:
                    divergence += p[x, y, w] * math.log(p[x, y, w] / mass / f[x, y, w])
    return h_y_x, divergence, information


def naive_cross_entropy(p, f):
    cells = zip(p.flatten().tolist(), f.flatten().tolist(), strict=True)
    return -sum(a * math.log(b) for a, b in cells if a > 0)


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_the_identity_and_every_term(seed, zeros):
    p, f = random_joint(seed, zeros), random_prediction(seed)
    found = decompose(p, f)
    assert expected_cross_entropy(p, f).item() == pytest.approx(naive_cross_entropy(p, f), abs=1e-12)
    assert found.total().item() == pytest.approx(naive_cross_entropy(p, f), abs=1e-12)
    terms = (found.label_entropy.item(), found.divergence.item(), found.information.item())
    assert terms == pytest.approx(naive_terms(p, f), abs=1e-12)
    assert found.information > 0.01
    assert found.divergence > 0.01


def test_the_divergence_from_p_of_y_given_x_breaks_the_identity():
    """Why the KL is taken from p(y | x, w): with p(y | x) in its place the sides differ where w knows something."""
    p, f = random_joint(0), random_prediction(0)
    p_xw, p_y_x = p.sum(1, keepdim=True), p.sum(2, keepdim=True) / p.sum((1, 2), keepdim=True)
    other = (p_xw * p_y_x * (p_y_x / f).log()).sum()
    wrong = label_entropy(p) + other - weight_information(p)
    assert abs(wrong.item() - naive_cross_entropy(p, f)) > 0.01


def random_labels(seed):
    p = random_joint(seed).sum(2)
    return p / p.sum()


def test_weights_that_do_not_depend_on_the_label_know_nothing():
    labels = random_labels(1)
    w_given_x = torch.softmax(torch.randn(X, W, generator=torch.Generator().manual_seed(2), dtype=torch.float64), 1)
    p = labels[:, :, None] * w_given_x[:, None, :]
    assert weight_information(p).item() == pytest.approx(0, abs=1e-13)
    f = (labels / labels.sum(1, keepdim=True))[:, :, None].expand(X, K, W)
    assert expected_cross_entropy(p, f).item() == pytest.approx(label_entropy(p).item(), abs=1e-13)


def test_weights_that_determine_the_label_know_all_of_it():
    """W = 8 values, two for each label; the cross entropy of the best prediction is then 0."""
    labels = random_labels(3)
    owner = torch.arange(8) % K
    p = labels[:, :, None] * (owner[None, None, :] == torch.arange(K)[None, :, None]) / 2
    assert weight_information(p).item() == pytest.approx(label_entropy(p).item(), abs=1e-13)
    best = (owner[None, None, :] == torch.arange(K)[None, :, None]).double().expand(X, K, 8)
    assert expected_cross_entropy(p, best).item() == 0


def test_uniform_labels_by_hand():
    p = torch.full((X, K, W), 1 / (X * K * W), dtype=torch.float64)
    f = torch.full((X, K, W), 1 / K, dtype=torch.float64)
    found = decompose(p, f)
    assert found.label_entropy.item() == pytest.approx(math.log(K), abs=1e-13)
    assert found.divergence.item() == pytest.approx(0, abs=1e-13)
    assert found.information.item() == pytest.approx(0, abs=1e-13)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_memorising_weights_hold_the_label_so_often(share):
    labels = random_labels(4)
    p = memorising_weights(labels, share)
    torch.testing.assert_close(p.sum(2), labels, atol=1e-15, rtol=0)
    p_y_x = labels / labels.sum(1, keepdim=True)
    conditional = p / p.sum(1, keepdim=True)
    expected = (1 - share) * p_y_x[:, :, None] + share * torch.eye(K, dtype=torch.float64)
    torch.testing.assert_close(conditional, expected, atol=1e-14, rtol=0)
    if share < 1:
        assert weight_information(p) < label_entropy(p) - 0.1


def test_a_prediction_that_rules_out_what_happens_costs_infinitely_much():
    p = memorising_weights(random_labels(5), 0.5)
    certain = torch.eye(K, dtype=torch.float64).expand(X, K, K)
    assert expected_cross_entropy(p, certain).item() == math.inf
    assert expected_divergence(p, certain).item() == math.inf


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, f: (2 * p, f), "joint: sums to 2, expected 1"),
        (lambda p, f: (p - 0.1, f), "joint: smallest entry -"),
        (lambda p, f: (p * math.nan, f), "joint: smallest entry nan"),
        (lambda p, f: (p[0], f[0]), r"joint: shape \(4, 5\), expected 3 axes"),
        (lambda p, f: (p, f[:, :, :2]), r"prediction: shape \(3, 4, 2\), but \(3, 4, 5\) of the joint"),
        (lambda p, f: (p, 0.5 * f), "prediction: sums to 0.5, expected 1"),
        (lambda p, f: (p[:0], f[:0]), "expected at least one entry"),
    ],
)
def test_refusals(change, message):
    with pytest.raises(ConfigError, match=message):
        decompose(*change(random_joint(0), random_prediction(0)))


def test_a_share_out_of_bounds_is_refused():
    with pytest.raises(ConfigError, match=r"share = 1.5: expected a share in \[0, 1\]"):
        memorising_weights(random_labels(0), 1.5)
