"""The loss has a gradient, and the gradient says where it rises."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from overfit_lab.evaluation.checks.base import Bench, Finding, Share, finding
from overfit_lab.evaluation.run import take_samples
from overfit_lab.methods.attacks.gradient import input_gradient
from overfit_lab.methods.attacks.losses import CrossEntropy
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.models.isolation import frozen, isolated
from overfit_lab.types import to_float

ZERO = 0.01
"""Share of samples without any gradient."""
ASTRAY = 0.1
"""Share of samples on which a random step raises the loss as much as one along the gradient."""
STEP = 0.25
"""Length of the step as a share of eps."""
N_RANDOM = 4
NOTHING_RIGHT = "the model has no sample right"


class Surface(NamedTuple):
    """Counts of right samples, of those without a gradient, and of those whose loss a random step raises as much."""

    n: int
    zero: int
    astray: int


def gradient_exists(bench: Bench) -> Finding:
    """Whether the cross entropy has a gradient with respect to the image at all.

    Rounded inputs have none, and a softmax that saturates in float32 has none either (Athalye et al. 2018, arXiv
    1802.00420; Carlini and Wagner 2017).
    """
    counts, expects = surface(bench), "the loss has a gradient"
    if counts.n == 0:
        return Finding("gradient-exists", expects, None, ZERO, NOTHING_RIGHT)
    return finding("gradient-exists", expects, Share("without a gradient", counts.zero, counts.n), ZERO)


def gradient_leads(bench: Bench) -> Finding:
    """Whether the loss rises more along its gradient than in random directions, a quarter of eps away.

    The best of four random steps of the same length is what it is compared with.
    """
    counts, expects = surface(bench), "the loss rises along its gradient"
    if counts.n == 0:
        return Finding("gradient-leads", expects, None, ASTRAY, NOTHING_RIGHT)
    share = Share("a random step raises the loss as much", counts.astray, counts.n)
    return finding("gradient-leads", expects, share, ASTRAY)


def surface(bench: Bench) -> Surface:
    """Counts over the bench's samples that the model has right. Cost: seven forward passes, one backward."""
    samples = take_samples(bench.snapshot, bench.split, bench.n)
    model, counts = bench.snapshot.model, []
    with isolated(model), frozen(model):
        for number, start in enumerate(range(0, len(samples.y), bench.snapshot.chunk)):
            part = slice(start, start + bench.snapshot.chunk)
            x, y = to_float(samples.x[part]), samples.y[part]
            with torch.no_grad():
                right = model(x).float().argmax(dim=1) == y
            if right.any():
                counts.append(_count(bench, x[right], y[right], number))
    return Surface(*(sum(column) for column in zip(*counts, strict=True))) if counts else Surface(0, 0, 0)


def _count(bench: Bench, x: Tensor, y: Tensor, number: int) -> Surface:
    model, loss = bench.snapshot.model, CrossEntropy(y)
    with torch.enable_grad():
        moving = x.clone().requires_grad_(True)
        before = loss(model(moving).float().double())
        gradient = input_gradient(before.sum(), moving)
    threat = ThreatModel(bench.config.attack.norm, STEP * bench.eps)
    generator = bench.snapshot.generator("loss-surface", bench.split, number)

    def rise(direction: Tensor) -> Tensor:
        with torch.no_grad():
            moved = threat.project(threat.ascend(x, direction, threat.eps), x)
            return loss(model(moved).float().double()) - before.detach()

    along = rise(gradient)
    draws = [torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype) for _ in range(N_RANDOM)]
    at_random = torch.stack([rise(draw) for draw in draws]).amax(dim=0)
    return Surface(len(y), int((gradient.flatten(1).abs().amax(dim=1) == 0).sum()), int((along <= at_random).sum()))


REGISTER = {"gradient-exists": gradient_exists, "gradient-leads": gradient_leads}
