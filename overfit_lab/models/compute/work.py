"""How much arithmetic there is to do."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from overfit_lab.models.isolation import isolated


def forward_flops(model: nn.Module, x: Tensor) -> int:
    """Floating-point operations of one image's forward pass in eval mode; a multiply and an add count as two.

    Convolutions and matrix products are counted, nothing else.

    Args:
        model: left as it was.
        x: one image or more (B, C, H, W); the first is passed.
    """
    with isolated(model), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x[:1])
    return int(counter.get_total_flops())


def training_flops(forward: int, *, n_images: int, attack_steps: int) -> int:
    """Floating-point operations of adversarial training on so many images, augmented ones counted each time.

    An attack's step is a forward pass and a gradient to the image; the update is a forward pass and a backward pass of
    twice its work. So PGD-10 comes to 23 forward passes an image.

    Args:
        attack_steps: gradient steps of the attack; 0 for none.
    """
    return forward * n_images * (2 * attack_steps + 3)
