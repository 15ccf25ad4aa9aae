"""Whether a network's logits are piecewise linear in each single weight."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from overfit_lab.errors import ProbeError
from overfit_lab.models.compute.verdicts import Verdicts
from overfit_lab.probes.metrics.directional import refuse_mixing
from overfit_lab.probes.metrics.layers import trainable_by_name

SAMPLES = 4


_known: Verdicts[tuple[bool | None, str]] = Verdicts(is_open=lambda answer: answer[0] is None)


def known_piecewise_linear(model: nn.Module, x: Tensor) -> tuple[bool | None, str]:
    """:func:`piecewise_linear`, tested once for a model until its modules, their switches or modes change.

    It is a property of the network's form, so training does not change it. An undecided test (None) is not
    remembered.
    """
    return _known.of(model, None, partial(piecewise_linear, model, x))


def piecewise_linear(model: nn.Module, x: Tensor) -> tuple[bool | None, str]:
    """Whether H and the generalised Gauss-Newton matrix have the same diagonal, by a random test.

    H - G = mean_i sum_k (p - t)_ik d^2 z_ik, so the diagonals agree where no logit has a second derivative in any
    single weight. For each parameter tensor w the product of the second derivative in w alone of a random combination
    s of the logits with a random vector is taken, reverse mode over reverse mode; it vanishes for certain where the
    logits are piecewise linear in w, and with probability 0 elsewhere. So the test asks for more than equal
    diagonals: linearity in each tensor at once, which a ReLU network has. It fails for smooth
    activations, layer and group norm, batch norm on the batch's statistics, shared weights, products of activations,
    weight normalisation.

    In eval mode; it looks at :data:`SAMPLES` samples, spread over x (N, C, H, W): a smooth part that none of them
    reaches is not seen.

    Returns:
        (True, "") where it holds; (False, reason); (None, reason) where derivatives are not finite.

    Raises:
        ProbeError: no trainable parameter.

    Cost: a forward and a backward pass over those samples, and for each parameter tensor a backward pass through both.
    """
    parameters = trainable_by_name(model)
    try:
        refuse_mixing(model, x)
    except ProbeError as error:
        return False, str(error)
    rows = torch.linspace(0, len(x) - 1, min(SAMPLES, len(x)), device=x.device).round().long()
    stream = torch.Generator().manual_seed(0)
    with torch.enable_grad():
        logits = model(x[rows].detach())
        if not torch.isfinite(logits).all():
            return None, "its logits are not finite"
        combination = (logits * torch.randn(logits.shape, generator=stream).to(logits)).sum()
        if not combination.requires_grad:
            return True, ""
        firsts = torch.autograd.grad(combination, list(parameters.values()), create_graph=True, allow_unused=True)
        for (name, weight), first in zip(parameters.items(), firsts, strict=True):
            if first is None:
                continue
            vector = torch.randn(weight.shape, generator=stream).to(weight)
            try:
                second = _second(first, weight, vector)
            except RuntimeError as error:
                return False, f"its logits cannot be differentiated twice in {name!r} ({str(error).splitlines()[0]})"
            if not (torch.isfinite(first).all() and torch.isfinite(second).all()):
                return None, f"derivatives in {name!r} are not finite"
            if not _vanishes(first.detach(), second, weight.detach(), vector):
                return False, f"its logits are not piecewise linear in {name!r}"
    return True, ""


def _second(first: Tensor, weight: Tensor, vector: Tensor) -> Tensor:
    """The second derivative in one tensor, times a vector."""
    if not first.requires_grad:
        return torch.zeros_like(weight)
    (second,) = torch.autograd.grad(first, weight, vector, retain_graph=True, allow_unused=True, materialize_grads=True)
    return second.detach()


def _vanishes(first: Tensor, second: Tensor, weight: Tensor, vector: Tensor) -> bool:
    """Whether a relative change of the tensor by 1 changes the first derivative by no more than rounding."""
    change = second.norm() * weight.norm() / vector.norm()
    return bool(change <= 100 * torch.finfo(first.dtype).eps * first.norm())
