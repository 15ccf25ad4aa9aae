"""Base of logit squeezing and clean logit pairing: images with normal noise, and no attack."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from overfit_lab import config
from overfit_lab.methods.attacks.base import Loss
from overfit_lab.methods.objectives.base import Objective, add_noise
from overfit_lab.methods.objectives.losses import given_label_loss
from overfit_lab.types import Batch, Outputs, Targets


class NoisyImagesOptions(config.Options):
    """Options of training on noisy images."""

    b: float = Field(0.5, ge=0, description="weight of the term beside the cross entropy")
    std: float = Field(0.25, ge=0, description="standard deviation of the normal noise on the images")


class NoisyImages(Objective):
    """A loss of the logits on images with normal noise; training has no attack, but is after robust accuracy."""

    Options: ClassVar[type[config.Options]] = NoisyImagesOptions
    options: NoisyImagesOptions
    needs_attack = False

    def inputs(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Noisy images."""
        return add_noise(x, self.options.std, generator)

    def attack_loss(self, model: nn.Module, batch: Batch, targets: Targets) -> Loss:
        """Cross entropy to the given label; training itself never asks for it."""
        return lambda logits: given_label_loss(logits, targets)

    def forward(self, model: nn.Module, batch: Batch, x_adv: Tensor) -> Outputs:
        """Logits on the noisy images."""
        return Outputs(clean=model(batch.x).float())
