"""Gradients with respect to images, also of models that let none through."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def input_gradient(total: Tensor, x: Tensor, *, retain_graph: bool = False) -> Tensor:
    """D total / d x, shaped as ``x``; zero where the model cut the way back to the image.

    Args:
        total: a sum of losses, a scalar.
        x: images (B, ...) that it was computed from and that require a gradient.

    Cost: one backward pass to the input.
    """
    if not total.requires_grad:
        return torch.zeros_like(x)
    (gradient,) = torch.autograd.grad(total, x, allow_unused=True, materialize_grads=True, retain_graph=retain_graph)
    return gradient


class Connected(nn.Module):
    """The logits of a model in float32, differentiable by the image even where the model cuts the way back.

    A model that rounds its input to integers has no path for a gradient; libraries fail on that. Here it is zero.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K) float32, the model's own values."""
        logits: Tensor = self.model(x).float()
        if x.requires_grad and torch.is_grad_enabled():
            path = (0 * x).flatten(1).sum(dim=1, keepdim=True)
            logits = logits + path
        return logits
