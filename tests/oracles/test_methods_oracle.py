"""Losses of the literature's methods, value and gradient, against transcriptions of their formulas in plain Python."""

import math

import pytest
import torch

from overfit_lab.config.catalog import OBJECTIVES
from overfit_lab.config.options import parse_options
from overfit_lab.types import Batch, Outputs, Targets

B, K = 7, 5


def softmax(row):
    exps = [math.exp(v - max(row)) for v in row]
    return [e / sum(exps) for e in exps]


def cross_entropy(row, target):
    return -sum(t * math.log(p) for t, p in zip(target, softmax(row), strict=True))


def divergence(row_p, row_q):
    return sum(p * math.log(p / q) for p, q in zip(softmax(row_p), softmax(row_q), strict=True))


def mart(clean, adv, t, y, lam=3.0):
    total = 0.0
    for z, z_adv, target, label in zip(clean, adv, t, y, strict=True):
        p, p_adv = softmax(z), softmax(z_adv)
        margin = -math.log(1 - max(p_adv[k] for k in range(K) if k != label))
        total += cross_entropy(z_adv, target) + margin + lam * divergence(z, z_adv) * (1 - p[label])
    return total / B


def sce(clean, adv, t, y, a=0.3, b=0.7):
    total = 0.0
    for z, target in zip(adv, t, strict=True):
        logs = [math.log(v) if v > 0 else -4.0 for v in target]
        total += a * cross_entropy(z, target) - b * sum(p * log for p, log in zip(softmax(z), logs, strict=True))
    return total / B


def logit_squeezing(clean, adv, t, y, b=0.2):
    squares = sum(v**2 for z in clean for v in z)
    return sum(map(cross_entropy, clean, t)) / B + b * squares / B


def clp(clean, adv, t, y, b=0.2):
    half = B // 2
    pairs = [sum((u - v) ** 2 for u, v in zip(clean[i], clean[half + i], strict=True)) for i in range(half)]
    return sum(map(cross_entropy, clean, t)) / B + b * sum(pairs) / half


def alp(clean, adv, t, y, b=0.2):
    total = 0.0
    for z, z_adv, target in zip(clean, adv, t, strict=True):
        total += (cross_entropy(z, target) + cross_entropy(z_adv, target)) / 2
        total += b * sum((u - v) ** 2 for u, v in zip(z, z_adv, strict=True))
    return total / B


CASES = {
    "mart": (mart, {"lam": 3.0}),
    "sce": (sce, {"a": 0.3, "b": 0.7}),
    "logit-squeezing": (logit_squeezing, {"b": 0.2}),
    "clp": (clp, {"b": 0.2}),
    "alp": (alp, {"b": 0.2}),
}


def example(hard):
    stream = torch.Generator().manual_seed(4)
    clean, adv = (2 * torch.randn(B, K, generator=stream, dtype=torch.float64) for _ in range(2))
    y = torch.randint(K, (B,), generator=stream)
    soft = torch.softmax(torch.randn(B, K, generator=stream, dtype=torch.float64), 1)
    return clean, adv, torch.eye(K, dtype=torch.float64)[y] if hard else soft, y


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("name", list(CASES))
def test_loss_and_gradient_equal_the_formula(name, hard):
    naive, options = CASES[name]
    clean, adv, probs, y = example(hard)
    objective = OBJECTIVES[name](parse_options(OBJECTIVES[name], options, prefix="objective"))
    leaves = [clean.clone().requires_grad_(), adv.clone().requires_grad_()]
    outputs = Outputs(clean=leaves[0], adv=None if not objective.needs_attack else leaves[1])
    loss = objective.loss(outputs, Targets(probs=probs, given=y))

    def value(first, second):
        return naive(first.tolist(), second.tolist(), probs.tolist(), y.tolist())

    assert loss.item() == pytest.approx(value(clean, adv), abs=1e-12)
    gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
    step = 1e-5
    for which, gradient in enumerate(gradients):
        for i in range(B):
            for k in range(K):
                values = []
                for sign in (1, -1):
                    moved = [clean.clone(), adv.clone()]
                    moved[which][i, k] += sign * step
                    values.append(value(*moved))
                expected = (values[0] - values[1]) / (2 * step)
                got = 0.0 if gradient is None else gradient[i, k].item()
                assert got == pytest.approx(expected, abs=1e-6)


def test_mart_stays_finite_where_the_model_is_sure_and_wrong():
    logits = torch.tensor([[200.0, 0.0, 0.0, 0.0, 0.0]], requires_grad=True)
    objective = OBJECTIVES["mart"](parse_options(OBJECTIVES["mart"], {}, prefix="objective"))
    y = torch.tensor([1])
    loss = objective.loss(Outputs(clean=logits, adv=logits), Targets(probs=torch.eye(K)[y], given=y))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.isfinite()
    assert gradient.isfinite().all()


def test_noisy_inputs_have_the_asked_for_spread_and_stay_in_the_pixel_range():
    objective = OBJECTIVES["clp"](parse_options(OBJECTIVES["clp"], {"std": 0.05}, prefix="objective"))
    x = torch.full((200, 1, 8, 8), 0.5)
    noisy = objective.inputs(x, torch.Generator().manual_seed(0))
    assert (noisy - x).std().item() == pytest.approx(0.05, rel=0.02)
    edge = objective.inputs(torch.ones(10, 1, 8, 8), torch.Generator().manual_seed(0))
    assert edge.max() == 1


@pytest.mark.parametrize("name", ["mart", "sce", "alp"])
def test_attacks_of_cross_entropy_ascend_that_to_the_given_label(name):
    clean, _, probs, y = example(hard=False)
    objective = OBJECTIVES[name](parse_options(OBJECTIVES[name], {}, prefix="objective"))
    batch = Batch(torch.zeros(B, 1, 1, 1), y, torch.arange(B))
    losses = objective.attack_loss(torch.nn.Identity(), batch, Targets(probs=probs, given=y))(clean)
    expected = [-math.log(softmax(z)[label]) for z, label in zip(clean.tolist(), y.tolist(), strict=True)]
    assert losses.tolist() == pytest.approx(expected, abs=1e-12)
    x = torch.full((B, 1, 2, 2), 0.5)
    if name == "mart":
        moved = objective.attack_start(x, torch.Generator().manual_seed(0)) - x
        assert 0 < moved.abs().max() < 6e-3
    else:
        assert objective.attack_start is None
