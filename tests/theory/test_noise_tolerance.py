"""Thm. 2: the condition at its threshold, the likeliest given label, and noisy risks by enumeration of the labels."""

import itertools

import pytest
import torch
from torch.nn import functional

from overfit_lab.config import NoiseConfig
from overfit_lab.data.noise import corrupt
from overfit_lab.errors import ConfigError
from overfit_lab.theory.noise_tolerance import (
    is_tolerated,
    noisy_posterior,
    noisy_risk,
    symmetric_risk,
    tolerance_margins,
)
from overfit_lab.theory.self_guidance import reverse_cross_entropy
from overfit_lab.theory.transitions import asymmetric_noise, resampling_noise, symmetric_noise

CIFAR10_CONFUSIONS = {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}


def matrix(rows):
    return torch.tensor(rows, dtype=torch.float64)


def test_transitions_by_hand():
    torch.testing.assert_close(symmetric_noise(3, 0.4), matrix([[0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.2, 0.2, 0.6]]))
    torch.testing.assert_close(resampling_noise(2, 0.4), matrix([[0.8, 0.2], [0.2, 0.8]]))
    torch.testing.assert_close(asymmetric_noise(3, 0.4), matrix([[0.6, 0.4, 0], [0, 0.6, 0.4], [0.4, 0, 0.6]]))
    torch.testing.assert_close(asymmetric_noise(3, 0.3, {2: 0}), matrix([[1, 0, 0], [0, 1, 0], [0.3, 0, 0.7]]))


@pytest.mark.parametrize(
    ("kind", "transition"),
    [
        ("symmetric", resampling_noise(10, 0.4)),
        ("symmetric-flip", symmetric_noise(10, 0.4)),
        ("asymmetric", asymmetric_noise(10, 0.4, CIFAR10_CONFUSIONS)),
    ],
)
def test_the_matrices_are_those_of_the_label_noise(kind, transition):
    """Frequencies of 20,000 corrupted labels a class, within five standard errors of each entry."""
    n = 20_000
    y = torch.arange(10).repeat(n)
    noise = NoiseConfig(kind=kind, rate=0.4)
    noisy, _ = corrupt(y, noise, n_classes=10, seed=0, confusions=CIFAR10_CONFUSIONS)
    frequencies = torch.bincount(10 * y + noisy, minlength=100).view(10, 10) / n
    error = (transition * (1 - transition) / n).sqrt()
    assert ((frequencies - transition).abs() <= 5 * error).all()


@pytest.mark.parametrize("n_classes", [2, 3, 7, 10, 100])
def test_symmetric_noise_is_tolerated_below_its_threshold(n_classes):
    threshold = 1 - 1 / n_classes
    assert is_tolerated(symmetric_noise(n_classes, threshold - 1e-6))
    assert not is_tolerated(symmetric_noise(n_classes, threshold))
    assert not is_tolerated(symmetric_noise(n_classes, threshold + 1e-6))
    assert is_tolerated(resampling_noise(n_classes, 1 - 1e-6))
    assert not is_tolerated(resampling_noise(n_classes, 1.0))


def test_margins_of_each_class():
    """1 - eta_y - max eta_yk by hand: .5 - .3, .4 - .6, 1 - 0."""
    found = tolerance_margins(matrix([[0.5, 0.3, 0.2], [0.6, 0.4, 0], [0, 0, 1]]))
    torch.testing.assert_close(found, matrix([0.2, -0.2, 1.0]))
    assert not is_tolerated(matrix([[0.5, 0.3, 0.2], [0.6, 0.4, 0], [0, 0, 1]]))
    for flip in (0.1, 0.6, 0.95):
        expected = torch.full((5,), 1 - flip * 5 / 4, dtype=torch.float64)
        torch.testing.assert_close(tolerance_margins(symmetric_noise(5, flip)), expected, atol=1e-14, rtol=0)
    assert is_tolerated(asymmetric_noise(10, 0.49, CIFAR10_CONFUSIONS))
    assert not is_tolerated(asymmetric_noise(10, 0.5, CIFAR10_CONFUSIONS))


def test_tolerated_noise_leads_to_the_true_class_and_other_noise_does_not():
    stream = torch.Generator().manual_seed(0)
    verdicts = set()
    for _ in range(200):
        transition = torch.softmax(torch.randn(4, 4, generator=stream, dtype=torch.float64), 1)
        transition = 0.7 * transition + 0.3 * torch.eye(4, dtype=torch.float64)
        noisy = noisy_posterior(torch.eye(4, dtype=torch.float64), transition)
        kept = noisy.argmax(1).tolist() == [0, 1, 2, 3]
        assert kept is is_tolerated(transition)
        verdicts.add(kept)
    assert verdicts == {True, False}


def test_uncertain_inputs_keep_their_class_under_symmetric_noise_alone():
    posterior = torch.softmax(torch.randn(100, 5, generator=torch.Generator().manual_seed(1)).double(), 1)
    best = posterior.argmax(1)
    assert torch.equal(noisy_posterior(posterior, symmetric_noise(5, 0.79)).argmax(1), best)
    assert not (noisy_posterior(posterior, symmetric_noise(5, 0.81)).argmax(1) == best).any()
    one_way = asymmetric_noise(2, 0.3, {0: 1})
    assert is_tolerated(one_way)
    torch.testing.assert_close(noisy_posterior(matrix([[0.6, 0.4]]), one_way), matrix([[0.42, 0.58]]))


def losses_of(kind, n, n_classes, seed=2):
    logits = 2 * torch.randn(n, n_classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    every = [torch.full((n,), k) for k in range(n_classes)]
    if kind == "rce":
        return torch.stack([reverse_cross_entropy(logits, y) for y in every], 1)
    if kind == "0-1":
        return torch.stack([(logits.argmax(1) != y).double() for y in every], 1)
    return torch.stack([functional.cross_entropy(logits, y, reduction="none") for y in every], 1)


def enumerated_risk(losses, y, transition):
    """Every joint outcome of the given labels, weighted by its probability."""
    n, n_classes = losses.shape
    total = 0.0
    for labels in itertools.product(range(n_classes), repeat=n):
        probability = 1.0
        for true, given in zip(y.tolist(), labels, strict=True):
            probability *= transition[true, given].item()
        total += probability * sum(losses[i, k].item() for i, k in enumerate(labels)) / n
    return total


Y = torch.tensor([0, 2, 1, 2])


@pytest.mark.parametrize("kind", ["rce", "0-1", "ce"])
def test_noisy_risk_equals_enumeration(kind):
    losses = losses_of(kind, 4, 3)
    for transition in (symmetric_noise(3, 0.5), resampling_noise(3, 0.5), asymmetric_noise(3, 0.3, {2: 0})):
        expected = enumerated_risk(losses, Y, transition)
        assert noisy_risk(losses, Y, transition).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("kind", "total"), [("rce", 4.0 * 2), ("0-1", 2.0)])
def test_symmetric_losses_have_a_noisy_risk_on_a_line(kind, total):
    losses = losses_of(kind, 4, 3)
    clean = noisy_risk(losses, Y, torch.eye(3))
    assert clean.item() == pytest.approx(sum(losses[i, k].item() for i, k in enumerate(Y.tolist())) / 4, abs=1e-14)
    for flip in (0.0, 0.3, 0.6, 0.9):
        expected = enumerated_risk(losses, Y, symmetric_noise(3, flip))
        assert symmetric_risk(clean, total, 3, flip).item() == pytest.approx(expected, abs=1e-12)
    for rate in (0.3, 0.9):
        expected = enumerated_risk(losses, Y, resampling_noise(3, rate))
        assert (1 - rate) * clean.item() + rate * total / 3 == pytest.approx(expected, abs=1e-12)


def test_cross_entropy_has_no_such_line():
    """Two predictors, the better of which on clean labels is the worse one on noisy labels within the condition."""
    bold, shy = torch.tensor([8.0, 0.0]), torch.tensor([0.5, 0.0])
    losses = [-torch.log_softmax(z.double(), 0)[None] for z in (bold, shy)]
    y = torch.tensor([0])
    clean = [noisy_risk(v, y, torch.eye(2)) for v in losses]
    noisy = [noisy_risk(v, y, symmetric_noise(2, 0.3)) for v in losses]
    assert is_tolerated(symmetric_noise(2, 0.3))
    assert clean[0] < clean[1]
    assert noisy[0] > noisy[1]


def test_class_dependent_noise_on_a_symmetric_loss():
    """C E(1 - eta_y) - E sum_(k != y) (1 - eta_y - eta_yk) loss(k), with the weights of the condition."""
    losses, transition = losses_of("rce", 4, 3), asymmetric_noise(3, 0.3, {2: 0, 1: 2})
    expected = 0.0
    for row, y in zip(losses.tolist(), Y.tolist(), strict=True):
        kept = transition[y, y].item()
        expected += kept * 8.0 - sum((kept - transition[y, k].item()) * row[k] for k in range(3) if k != y)
    assert noisy_risk(losses, Y, transition).item() == pytest.approx(expected / 4, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: symmetric_noise(1, 0.2), "n_classes = 1: expected at least 2"),
        (lambda: symmetric_noise(3, 1.2), r"flip = 1.2: expected a share in \[0, 1\]"),
        (lambda: resampling_noise(3, -0.2), r"rate = -0.2: expected a share in \[0, 1\]"),
        (lambda: asymmetric_noise(3, 0.2, {2: 3}), "confusions: 2 to 3, expected classes 0 to 2"),
        (lambda: tolerance_margins(torch.ones(3, 3)), "transition: sums to 3, expected 1"),
        (lambda: is_tolerated(torch.full((3, 2), 0.5)), r"transition: shape \(3, 2\), expected \(K, K\)"),
        (lambda: noisy_posterior(matrix([[0.5, 0.5]]), symmetric_noise(3, 0.1)), "transition: 3 classes, but 2"),
        (lambda: noisy_risk(torch.zeros(4, 2), Y % 2, symmetric_noise(3, 0.1)), "transition: 3 classes, but 2"),
        (lambda: noisy_risk(torch.zeros(4, 3), Y + 1, symmetric_noise(3, 0.1)), "y: label 3, expected 0 to 2"),
        (lambda: symmetric_risk(torch.tensor(1.0), 2.0, 3, 2.0), "flip = 2.0"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
