"""Objectives' losses and their gradients against naive transcriptions."""

import math

import pytest
import torch

from overfit_lab.config.catalog import OBJECTIVES
from overfit_lab.config.options import parse_options
from overfit_lab.methods.attacks.pgd import PGD
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.seeds import derive_generator
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


def naive_softmax(row):
    exps = [math.exp(v - max(row)) for v in row]
    return [e / sum(exps) for e in exps]


def naive_trades(clean, adv, probs, beta):
    total = 0.0
    for z, z_adv, t in zip(clean.tolist(), adv.tolist(), probs.tolist(), strict=True):
        p, q = naive_softmax(z), naive_softmax(z_adv)
        total -= sum(a * math.log(b) for a, b in zip(t, p, strict=True))
        total += beta * sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))
    return total / len(clean)


def test_trades_loss_and_its_gradients_to_both_predictions():
    clean, targets = example()
    adv = torch.randn(B, K, generator=torch.Generator().manual_seed(9), dtype=torch.float64).requires_grad_()
    objective = make("trades", beta=4.0)
    loss = objective.loss(Outputs(clean=clean, adv=adv), targets)
    assert loss.item() == pytest.approx(naive_trades(clean, adv, targets.probs, 4.0), abs=1e-12)
    found = torch.autograd.grad(loss, (clean, adv))
    step = 1e-6
    for which, gradient in enumerate(found):
        for i, k in ((0, 0), (2, 3), (5, 1)):
            moved = [part.detach().clone() for part in (clean, adv)]
            values = []
            for sign in (1, -1):
                moved[which][i, k] += sign * step
                values.append(naive_trades(*moved, targets.probs, 4.0))
                moved[which][i, k] -= sign * step
            assert gradient[i, k].item() == pytest.approx((values[0] - values[1]) / (2 * step), abs=1e-8)


def test_trades_attack_ascends_the_divergence_from_a_little_noise():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 8), torch.nn.Tanh(), torch.nn.Linear(8, K))
    stream = torch.Generator().manual_seed(1)
    x = 0.2 + 0.6 * torch.rand(B, 1, 4, 4, generator=stream)
    y = torch.randint(K, (B,), generator=stream)
    batch, targets = Batch(x, y, torch.arange(B)), Targets(probs=torch.eye(K)[y], given=y)
    objective = make("trades")
    draw = torch.randn(x.shape, generator=derive_generator(0, "a"))
    start = objective.attack_start(x, derive_generator(0, "a"))
    torch.testing.assert_close(start, x + 1e-3 * draw)
    attack = PGD(ThreatModel("linf", 0.1), step_size=0.02, n_steps=8)
    loss = objective.attack_loss(model, batch, targets)
    found = attack(model, x, loss, generator=derive_generator(0, "a"), start=objective.attack_start)
    image = start.clone()
    p = torch.softmax(model(x), 1).detach()
    for _ in range(8):
        image.requires_grad_()
        q = torch.log_softmax(model(image), 1)
        (g,) = torch.autograd.grad(torch.nn.functional.kl_div(q, p, reduction="batchmean"), image)
        image = (image.detach() + 0.02 * g.sign()).clamp(x - 0.1, x + 0.1).clamp(0, 1)
    torch.testing.assert_close(found, image, atol=1e-6, rtol=0)


@pytest.mark.parametrize("attack_labels", ["given", "targets"])
def test_attack_moves_away_from_what_is_asked(attack_labels):
    logits, targets = example()
    objective = make("pgd-at", attack_labels=attack_labels)
    batch = Batch(torch.zeros(B, 1, 1, 1), targets.given, torch.arange(B))
    losses = objective.attack_loss(torch.nn.Identity(), batch, targets)(logits)
    probs = torch.eye(K, dtype=torch.float64)[targets.given] if attack_labels == "given" else targets.probs
    assert losses.shape == (B,)
    assert losses.mean().item() == pytest.approx(naive_cross_entropy(logits, probs), abs=1e-12)


def test_trades_attack_weighs_divergence_and_consistency_as_the_loss_does():
    clean, targets = example()
    goal = torch.full((B, K), 1 / K, dtype=torch.float64)
    asked = Targets(targets.probs, targets.given, consistency=goal, consistency_weight=20.0)
    objective = make("trades", beta=4.0)
    batch = Batch(clean.detach(), targets.given, torch.arange(B))
    x_adv = torch.randn(B, K, generator=torch.Generator().manual_seed(5), dtype=torch.float64).requires_grad_()
    ascended = objective.attack_loss(torch.nn.Identity(), batch, asked)(x_adv)
    (up,) = torch.autograd.grad(ascended.mean(), x_adv)
    whole = objective.loss(Outputs(clean=clean.float(), adv=x_adv.float()), asked)
    (of_loss,) = torch.autograd.grad(whole, x_adv)
    torch.testing.assert_close(up, of_loss, atol=1e-6, rtol=1e-4)
