"""Logit squeezing on noisy images (LSLS: Shafahi et al. 2019, arXiv 1910.11585; Kannan et al. 2018)."""

from __future__ import annotations

from torch import Tensor

from overfit_lab.methods.objectives.losses import target_loss
from overfit_lab.methods.objectives.noisy_images import NoisyImages
from overfit_lab.types import Outputs, Targets


class LogitSqueezing(NoisyImages):
    """CE(z, t) + b ||z||_F^2 / B on images with normal noise; no attack.

    Mosbach et al. (2018, arXiv 1810.12042) show that it can mask gradients: check its robustness by strong attacks.
    """

    def loss(self, outputs: Outputs, targets: Targets) -> Tensor:
        """Mean over the batch."""
        return (target_loss(outputs.main, targets) + self.options.b * outputs.main.square().sum(dim=1)).mean()


REGISTER = {"logit-squeezing": LogitSqueezing}
