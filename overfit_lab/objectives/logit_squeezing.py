"""Logit squeezing on noisy images (LSLS: Shafahi et al. 2019, arXiv 1910.11585; Kannan et al. 2018)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from overfit_lab import config
from overfit_lab.attacks.base import Loss
from overfit_lab.objectives.base import Objective, add_noise
from overfit_lab.objectives.losses import given_loss, target_loss
from overfit_lab.types import Batch, Outputs, Targets


class LogitSqueezingOptions(config.Options):
    """Options of logit squeezing."""

    b: float = Field(0.5, ge=0, description="weight of the squared norm of the logits")
    std: float = Field(0.25, ge=0, description="standard deviation of the normal noise on the images")


class LogitSqueezing(Objective):
    """CE(z, t) + b ||z||_F^2 / B on images with normal noise; no attack.

    Mosbach et al. (2018, arXiv 1810.12042) show that it can mask gradients: check its robustness by strong attacks.
    """

    Options = LogitSqueezingOptions
    needs_attack = False

    def __init__(self, options: LogitSqueezingOptions) -> None:
        super().__init__(options)
        self.b, self.std = options.b, options.std

    def inputs(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Noisy images."""
        return add_noise(x, self.std, generator)

    def attack_loss(self, model: nn.Module, batch: Batch, targets: Targets) -> Loss:
        """Cross entropy to the given label; training itself never asks for it."""
        return lambda logits: given_loss(logits, targets)

    def forward(self, model: nn.Module, batch: Batch, x_adv: Tensor) -> Outputs:
        """Logits on the noisy images."""
        return Outputs(clean=model(batch.x).float())

    def loss(self, outputs: Outputs, targets: Targets) -> Tensor:
        """Mean over the batch."""
        return (target_loss(outputs.main, targets) + self.b * outputs.main.square().sum(dim=1)).mean()


REGISTER = {"logit-squeezing": LogitSqueezing}
