"""Prop. 1: both sides of the identity, by value and by gradient, and each part against loops."""

import math

import pytest
import torch

from overfit_lab.errors import ConfigError
from overfit_lab.theory.self_guidance import (
    label_divergence,
    prediction_entropy,
    reverse_cross_entropy,
    self_guided_cross_entropy,
    symmetric_part,
)

B, K = 7, 5
SHARES = [0.0, 0.2, 0.7, 1.0]


def example():
    stream = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(B, K, generator=stream, dtype=torch.float64)
    return logits.requires_grad_(), torch.randint(K, (B,), generator=stream)


def gradient(loss, logits):
    return torch.autograd.grad(loss.sum(), logits)[0]


def softmax(row):
    exps = [math.exp(v) for v in row]
    return [e / sum(exps) for e in exps]


@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize("r", SHARES)
def test_the_left_side_equals_a_loop(r, detached):
    logits, y = example()
    expected = []
    for row, label in zip(logits.tolist(), y.tolist(), strict=True):
        p = softmax(row)
        target = [r * v + (1 - r) * (k == label) for k, v in enumerate(p)]
        expected.append(-sum(t * math.log(v) for t, v in zip(target, p, strict=True)))
    assert self_guided_cross_entropy(logits, y, r, detached=detached).tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("log_zero", [-4.0, -1.0, -30.0])
@pytest.mark.parametrize("r", SHARES)
def test_the_identity_in_value_and_gradient(r, log_zero):
    logits, y = example()
    left = self_guided_cross_entropy(logits, y, r)
    right = symmetric_part(logits, y, r, log_zero) - r * label_divergence(logits, y, log_zero)
    torch.testing.assert_close(left, right, atol=1e-12, rtol=0)
    torch.testing.assert_close(gradient(left, logits), gradient(right, logits), atol=1e-12, rtol=0)


@pytest.mark.parametrize("log_zero", [-4.0, -1.0])
def test_each_part_equals_a_loop(log_zero):
    logits, y = example()
    reverse, symmetric, divergence, entropy = [], [], [], []
    for row, label in zip(logits.tolist(), y.tolist(), strict=True):
        p = softmax(row)
        log_one_hot = [0.0 if k == label else log_zero for k in range(K)]
        reverse.append(-sum(v * a for v, a in zip(p, log_one_hot, strict=True)))
        symmetric.append(-0.7 * math.log(p[label]) + 0.3 * reverse[-1])
        divergence.append(sum(v * (math.log(v) - a) for v, a in zip(p, log_one_hot, strict=True)))
        entropy.append(-sum(v * math.log(v) for v in p))
    assert reverse_cross_entropy(logits, y, log_zero).tolist() == pytest.approx(reverse, abs=1e-12)
    assert symmetric_part(logits, y, 0.3, log_zero).tolist() == pytest.approx(symmetric, abs=1e-12)
    assert label_divergence(logits, y, log_zero).tolist() == pytest.approx(divergence, abs=1e-12)
    assert prediction_entropy(logits).tolist() == pytest.approx(entropy, abs=1e-12)


def test_gradients_in_closed_form_attached_and_detached():
    """Attached: (1 - r) (p - e_y) - r p (log p + H). Detached: (1 - r) (p - e_y), hard labels' gradient scaled."""
    logits, y = example()
    p = torch.softmax(logits, 1).detach()
    hard = p - torch.eye(K, dtype=torch.float64)[y]
    entropy = -(p * p.log()).sum(1, keepdim=True)
    attached = gradient(self_guided_cross_entropy(logits, y, 0.3), logits)
    detached = gradient(self_guided_cross_entropy(logits, y, 0.3, detached=True), logits)
    torch.testing.assert_close(attached, 0.7 * hard - 0.3 * p * (p.log() + entropy), atol=1e-12, rtol=0)
    torch.testing.assert_close(detached, 0.7 * hard, atol=1e-12, rtol=0)
    assert (attached - detached).abs().max() > 0.05


def test_the_divergence_at_its_ends():
    """0 at the label, -A at another class, least at the normalised (1, e^A, ..., e^A)."""
    log_zero, y = -4.0, torch.tensor([0, 0, 0])
    sure, shared = [0.0] + [-800.0] * (K - 1), [0.0] + [log_zero] * (K - 1)
    logits = torch.tensor([sure, sure[1:2] + sure[:1] + sure[2:], shared], dtype=torch.float64)
    least = -math.log(1 + (K - 1) * math.exp(log_zero))
    assert label_divergence(logits, y, log_zero).tolist() == pytest.approx([0, 4, least], abs=1e-12)
    drawn, labels = example()
    assert (label_divergence(drawn, labels, log_zero) > least).all()


def test_reverse_cross_entropy_is_a_symmetric_loss():
    logits, _ = example()
    total = sum(reverse_cross_entropy(logits, torch.full((B,), k)) for k in range(K))
    torch.testing.assert_close(total.detach(), torch.full((B,), 4.0 * (K - 1), dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z, y: self_guided_cross_entropy(z, y, 1.2), r"r = 1.2: expected a share in \[0, 1\]"),
        (lambda z, y: symmetric_part(z, y, 0.2, 0.0), "log_zero = 0.0: expected a finite number below 0"),
        (lambda z, y: label_divergence(z, y, -math.inf), "log_zero = -inf"),
        (lambda z, y: reverse_cross_entropy(z, y + K), r"y: label \d, expected 0 to 4"),
        (lambda z, y: reverse_cross_entropy(z, y[:3]), r"y: torch.int64 of shape \(3,\) for rows of shape \(7, 5\)"),
        (lambda z, y: reverse_cross_entropy(z, y.double()), "y: torch.float64 of shape"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ConfigError, match=message):
        call(*example())
