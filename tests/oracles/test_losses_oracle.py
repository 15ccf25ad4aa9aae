"""Objectives' losses and their gradients against naive transcriptions."""

import math

import pytest
import torch

from overfit_lab.catalog import OBJECTIVES
from overfit_lab.options import parse_options
from overfit_lab.types import Batch, Outputs, Targets

B, K = 6, 4


def naive_cross_entropy(logits, probs):
    total = 0.0
    for z, t in zip(logits.tolist(), probs.tolist(), strict=True):
        log_sum = math.log(sum(math.exp(v) for v in z))
        total -= sum(p * (v - log_sum) for v, p in zip(z, t, strict=True))
    return total / len(logits)


def example():
    stream = torch.Generator().manual_seed(0)
    logits = torch.randn(B, K, generator=stream, dtype=torch.float64).requires_grad_()
    probs = torch.softmax(torch.randn(B, K, generator=stream, dtype=torch.float64), 1)
    return logits, Targets(probs=probs, given=torch.randint(K, (B,), generator=stream))


def make(name, **options):
    return OBJECTIVES[name](parse_options(OBJECTIVES[name], options, prefix="objective"))


@pytest.mark.parametrize("name", ["standard", "pgd-at"])
def test_loss_and_gradient(name):
    logits, targets = example()
    loss = make(name).loss(Outputs(adv=logits), targets)
    assert loss.item() == pytest.approx(naive_cross_entropy(logits, targets.probs), abs=1e-12)
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(gradient, (torch.softmax(logits, 1) - targets.probs).detach() / B)


def test_consistency_adds_the_weighted_squared_distance():
    logits, targets = example()
    goal = torch.full((B, K), 1 / K, dtype=torch.float64)
    with_term = Targets(targets.probs, targets.given, consistency=goal, consistency_weight=30.0)
    objective = make("pgd-at")
    gap = objective.loss(Outputs(adv=logits), with_term) - objective.loss(Outputs(adv=logits), targets)
    p = torch.softmax(logits, 1)
    expected = 30.0 * sum((p[i, k] - 1 / K) ** 2 / K for i in range(B) for k in range(K)) / B
    assert gap.item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("attack_labels", ["given", "targets"])
def test_attack_moves_away_from_what_is_asked(attack_labels):
    logits, targets = example()
    objective = make("pgd-at", attack_labels=attack_labels)
    batch = Batch(torch.zeros(B, 1, 1, 1), targets.given, torch.arange(B))
    losses = objective.attack_loss(torch.nn.Identity(), batch, targets)(logits)
    probs = torch.eye(K, dtype=torch.float64)[targets.given] if attack_labels == "given" else targets.probs
    assert losses.shape == (B,)
    assert losses.mean().item() == pytest.approx(naive_cross_entropy(logits, probs), abs=1e-12)
