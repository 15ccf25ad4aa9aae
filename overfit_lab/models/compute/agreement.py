"""Whether two networks are the same function, to rounding."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Network = Callable[[Tensor], Tensor]
"""Images (B, C, H, W) to logits (B, K), in the mode to be tried."""
LOGITS_WITHIN, GRADIENTS_ALIKE = 1e-3, 0.999
MIXED_WITHIN, MIXED_ALIKE = 0.05, 0.9
"""Largest difference of logits, as a share of the largest, and least cosine of input gradients that count as the same;
the second pair under mixed precision. Where a ReLU's input is within rounding of 0 its gradient may go either way, so
gradients are not compared number by number."""
SAMPLEWISE_WITHIN = 1e-4
"""Largest difference of logits, as a share of the largest, that a batch's size alone may make."""
PRODUCTS_WITHIN = 1e-3
"""Largest difference of products with a Jacobian, as a share of the largest, that counts as rounding."""


def same_products(expected: Tensor, actual: Tensor) -> bool:
    """Whether two products of a Jacobian with a vector are the same to rounding; such as are not finite are not."""
    if expected.shape != actual.shape:
        return False
    expected, actual = expected.double(), actual.double()
    return bool((actual - expected).abs().max() <= PRODUCTS_WITHIN * expected.abs().max())


@torch.no_grad()
def is_samplewise(network: Network, x: Tensor) -> bool | None:
    """Whether two different images have the logits together that they have apart; None where logits are not finite.

    How far rounding depends on the batch's size alone is measured on an image beside itself, which counts as no
    difference: mixed precision rounds coarsely.

    Args:
        network: images to logits; in the mode to be tried.
        x: one image or more (B, C, H, W) in [0, 1]; the first and its negative are tried.
    """
    image = x[:1]
    pair, twice = torch.cat([image, 1 - image]), torch.cat([image, image])
    apart, together = torch.cat([network(part) for part in pair.split(1)]), network(pair)
    if not (apart.isfinite().all() and together.isfinite().all()):
        return None
    rounding = (network(twice) - apart[:1]).abs().max()
    return bool((apart - together).abs().max() <= SAMPLEWISE_WITHIN * apart.abs().max() + 4 * rounding)


def agree(model: Network, twin: Network, x: Tensor) -> bool:
    """Whether two networks give the same logits and input gradients, to rounding.

    Args:
        model: the one to be compared with, in the mode to be compared.
        x: images (B, C, H, W).
    """
    (expected, slope), (actual, other) = _logits_and_gradient(model, x), _logits_and_gradient(twin, x)
    mixed = torch.is_autocast_enabled(x.device.type)
    within, alike = (MIXED_WITHIN, MIXED_ALIKE) if mixed else (LOGITS_WITHIN, GRADIENTS_ALIKE)
    # "not <=" rather than ">": NaN logits disagree.
    if not (actual - expected).abs().max() <= within * expected.abs().max():
        return False
    a, b = slope.double().flatten(), other.double().flatten()
    if not (a.any() and b.any()):
        return bool(a.any() == b.any())
    return bool(a @ b >= alike * a.norm() * b.norm())


def _logits_and_gradient(network: Network, x: Tensor) -> tuple[Tensor, Tensor]:
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
