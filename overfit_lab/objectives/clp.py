"""CLP: clean logit pairing (Kannan et al. 2018, arXiv 1803.06373)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from overfit_lab import config
from overfit_lab.attacks.base import Loss
from overfit_lab.objectives.base import Objective, add_noise
from overfit_lab.objectives.losses import given_loss, target_loss
from overfit_lab.types import Batch, Outputs, Targets


class ClpOptions(config.Options):
    """Options of clean logit pairing."""

    b: float = Field(0.05, ge=0, description="weight of the squared distance between the logits of a pair")
    std: float = Field(0.25, ge=0, description="standard deviation of the normal noise on the images")


class Clp(Objective):
    """CE(z, t) + b ||z(x~_1) - z(x~_2)||^2 on images with normal noise; no attack.

    Pairs are two random images of whatever class: the i-th of the first half of a shuffled batch with the i-th of the
    second half, the mean over pairs; an image without a partner is in no pair. Mosbach et al. (2018, arXiv
    1810.12042) show that it can mask gradients: check its robustness by strong attacks.
    """

    Options = ClpOptions
    needs_attack = False

    def __init__(self, options: ClpOptions) -> None:
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
        """Mean over the batch, and over its pairs."""
        logits = outputs.main
        n_pairs = len(logits) // 2
        gaps = logits[:n_pairs] - logits[n_pairs : 2 * n_pairs]
        pairing = gaps.square().sum() / max(n_pairs, 1)
        return target_loss(logits, targets).mean() + self.b * pairing


REGISTER = {"clp": Clp}
