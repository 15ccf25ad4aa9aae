"""Whether two networks are the same function, to rounding."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

LOGITS_WITHIN, GRADIENTS_ALIKE = 1e-3, 0.98
MIXED_WITHIN, MIXED_ALIKE = 0.05, 0.9
"""Largest difference of logits, as a share of the largest, and least cosine of input gradients that count as the same;
the second pair under mixed precision. Where a ReLU's input is within rounding of 0 its gradient may go either way, so
gradients are not compared number by number."""


def agree(model: nn.Module, twin: nn.Module, x: Tensor) -> bool:
    """Whether two networks give the same logits and input gradients, to rounding.

    Args:
        model: the one to be compared with, in the mode to be compared.
        x: images (B, C, H, W).
    """
    (expected, slope), (found, other) = _logits_and_gradient(model, x), _logits_and_gradient(twin, x)
    within, alike = (MIXED_WITHIN, MIXED_ALIKE) if _is_mixed(x) else (LOGITS_WITHIN, GRADIENTS_ALIKE)
    # "not <=" rather than ">": NaN logits disagree.
    if not (found - expected).abs().max() <= within * expected.abs().max().clamp_min(1e-6):
        return False
    a, b = slope.double().flatten(), other.double().flatten()
    if not (a.any() and b.any()):
        return bool(a.any() == b.any())
    return bool(functional.cosine_similarity(a, b, dim=0) >= alike)


def _is_mixed(x: Tensor) -> bool:
    return torch.is_autocast_enabled(x.device.type)


def _logits_and_gradient(network: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, K), and the image gradient (B, C, H, W) of a fixed combination of them."""
    images = x.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        logits = network(images).float()
        # Weights that differ from logit to logit: a plain sum would hide differences that cancel.
        weights = torch.linspace(-1, 1, logits.numel(), device=x.device).view_as(logits)
        total = (logits * weights).sum()
    if not total.requires_grad:
        return logits, torch.zeros_like(images)
    (gradient,) = torch.autograd.grad(total, images)
    return logits.detach(), gradient.float()
