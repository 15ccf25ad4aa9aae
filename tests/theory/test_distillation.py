"""Prop. 2: the two forms of distillation, their constant and gradient; SGLR's own target is one of them."""

import math

import pytest
import torch
from torch.nn import functional

from overfit_lab.errors import ConfigError
from overfit_lab.methods.labels.base import LabelContext
from overfit_lab.methods.labels.sglr import Sglr, SglrOptions
from overfit_lab.theory.distillation import (
    distillation_constant,
    distillation_loss,
    refined_cross_entropy,
    refined_target,
)
from overfit_lab.types import Batch, Clock, Outputs

B, K = 6, 4
SHARES = [0.0, 0.2, 0.7, 1.0]


def example():
    stream = torch.Generator().manual_seed(0)
    logits, scores = 2 * torch.randn(2, B, K, generator=stream, dtype=torch.float64)
    teacher = torch.softmax(scores, 1)
    teacher[0] = torch.eye(K, dtype=torch.float64)[2]  # a teacher that is certain
    return logits.requires_grad_(), teacher, torch.randint(K, (B,), generator=stream)


def gradient(loss, logits):
    return torch.autograd.grad(loss.sum(), logits)[0]


@pytest.mark.parametrize("r", SHARES)
def test_both_forms_equal_loops(r):
    logits, teacher, y = example()
    kd, refined, constant = [], [], []
    for row, q, label in zip(torch.log_softmax(logits, 1).tolist(), teacher.tolist(), y.tolist(), strict=True):
        divergence = sum(b * (math.log(b) - a) for a, b in zip(row, q, strict=True) if b > 0)
        kd.append(-(1 - r) * row[label] + r * divergence)
        refined.append(-sum((r * b + (1 - r) * (k == label)) * row[k] for k, b in enumerate(q)))
        constant.append(-r * sum(b * math.log(b) for b in q if b > 0))
    assert distillation_loss(logits, teacher, y, r).tolist() == pytest.approx(kd, abs=1e-12)
    assert refined_cross_entropy(logits, teacher, y, r).tolist() == pytest.approx(refined, abs=1e-12)
    assert distillation_constant(teacher, r).tolist() == pytest.approx(constant, abs=1e-12)


@pytest.mark.parametrize("r", SHARES)
def test_the_forms_differ_by_the_constant_and_share_their_gradient(r):
    logits, teacher, y = example()
    kd, refined = distillation_loss(logits, teacher, y, r), refined_cross_entropy(logits, teacher, y, r)
    torch.testing.assert_close(kd, refined - distillation_constant(teacher, r), atol=1e-12, rtol=0)
    expected = torch.softmax(logits, 1).detach() - refined_target(teacher, y, r)
    torch.testing.assert_close(gradient(kd, logits), expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(gradient(refined, logits), expected, atol=1e-12, rtol=0)


def test_the_student_at_the_target_is_the_minimiser():
    _, teacher, y = example()
    target = refined_target(teacher, y, 0.5)
    best = target.clamp_min(1e-300).log()
    least = distillation_loss(best, teacher, y, 0.5)
    stream = torch.Generator().manual_seed(1)
    for _ in range(20):
        moved = best + 0.1 * torch.randn(B, K, generator=stream, dtype=torch.float64)
        assert (distillation_loss(moved, teacher, y, 0.5) > least - 1e-15).all()
    assert gradient(distillation_loss(best.requires_grad_(), teacher, y, 0.5), best).abs().max() < 1e-12


def test_the_teacher_gets_no_gradient():
    logits, teacher, y = example()
    teacher.requires_grad_()
    loss = distillation_loss(logits, teacher, y, 0.5) + refined_cross_entropy(logits, teacher, y, 0.5)
    (found,) = torch.autograd.grad(loss.sum(), teacher, allow_unused=True)
    assert found is None


def test_sglr_is_distillation_from_its_own_average():
    """The label mode's target after two visits, in the plain cross entropy, against KD with its rows as teacher."""
    logits, _, y = example()
    stream = torch.Generator().manual_seed(2)
    mode = Sglr(SglrOptions(r=0.3), LabelContext(y, K, 1))
    batch, clock = Batch(x=torch.zeros(B, 1, 1, 1), y=y, index=torch.arange(B)), Clock(0, 0, 1)
    for _ in range(2):
        clean, adv = torch.randn(2, B, K, generator=stream)
        mode.update(batch, Outputs(clean=clean, adv=adv), clock)
    rows = mode.state_dict()["rows"]
    assert (rows.max(1).values < 0.999).all()
    sglr = functional.cross_entropy(logits, mode.targets(batch, clock).probs.double(), reduction="none")
    kd = distillation_loss(logits, rows, y, 0.3)
    torch.testing.assert_close(sglr, kd + distillation_constant(rows, 0.3), atol=2e-6, rtol=0)  # rows are float32
    torch.testing.assert_close(gradient(sglr, logits), gradient(kd, logits), atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z, q, y: distillation_loss(z, 2 * q, y, 0.2), "teacher: sums to 2, expected 1"),
        (lambda z, q, y: distillation_loss(z, q, y, 2), r"r = 2: expected a share in \[0, 1\]"),
        (lambda z, q, y: refined_cross_entropy(z, q[:3], y, 0.2), r"teacher: shape \(3, 4\), but \(6, 4\) of the log"),
        (lambda z, q, y: refined_target(q, y - K, 0.2), r"y: label -\d, expected 0 to 3"),
        (lambda z, q, y: distillation_constant(q - 0.5, 0.2), "teacher: smallest entry -0.5"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ConfigError, match=message):
        call(*example())
