"""SCE: symmetric cross entropy (Wang et al. 2019, arXiv 1908.06112), on adversarial images."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from overfit_lab import config
from overfit_lab.methods.attacks.base import Loss
from overfit_lab.methods.objectives.base import Objective
from overfit_lab.methods.objectives.losses import given_label_loss, target_loss
from overfit_lab.types import Batch, Outputs, Targets


class SceOptions(config.Options):
    """Options of the symmetric cross entropy; the defaults are the authors' for CIFAR-10."""

    a: float = Field(0.1, ge=0, description="weight of the cross entropy")
    b: float = Field(1.0, ge=0, description="weight of the reverse cross entropy")
    log_zero: float = Field(-4.0, lt=0, description="what stands for log 0, and the least that log t_k counts")


class Sce(Objective):
    """a CE(z(x'), t) + b RCE with the reverse cross entropy RCE = -sum_k p_k log t_k and log 0 := -4.

    A target below e^-4, as label smoothing has, counts as e^-4, so that the loss does not jump at 0. The attack
    maximises the cross entropy to the given label.
    """

    Options = SceOptions
    options: SceOptions

    def attack_loss(self, model: nn.Module, batch: Batch, targets: Targets) -> Loss:
        """Cross entropy to the given label of each sample (B,)."""
        return lambda logits: given_label_loss(logits, targets)

    def forward(self, model: nn.Module, batch: Batch, x_adv: Tensor) -> Outputs:
        """Logits on the adversarial images."""
        return Outputs(adv=model(x_adv).float())

    def loss(self, outputs: Outputs, targets: Targets) -> Tensor:
        """Mean over the batch."""
        log_targets = targets.probs.log().clamp_min(self.options.log_zero)
        reverse = -(torch.softmax(outputs.main, dim=1) * log_targets).sum(dim=1)
        return (self.options.a * target_loss(outputs.main, targets) + self.options.b * reverse).mean()


REGISTER = {"sce": Sce}
