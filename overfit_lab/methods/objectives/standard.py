"""Standard training: no attack."""

from __future__ import annotations

from torch import Tensor, nn

from overfit_lab.methods.attacks.base import Loss
from overfit_lab.methods.objectives.base import Objective
from overfit_lab.methods.objectives.losses import given_label_loss, target_loss
from overfit_lab.types import Batch, Outputs, Targets


class Standard(Objective):
    """Cross entropy CE(z(x), t) on clean images."""

    needs_attack = False
    robust = False

    def attack_loss(self, model: nn.Module, batch: Batch, targets: Targets) -> Loss:
        """Cross entropy to the given label; training itself never asks for it."""
        return lambda logits: given_label_loss(logits, targets)

    def forward(self, model: nn.Module, batch: Batch, x_adv: Tensor) -> Outputs:
        """Logits on the clean images."""
        return Outputs(clean=model(batch.x).float())

    def loss(self, outputs: Outputs, targets: Targets) -> Tensor:
        """Mean over the batch."""
        return target_loss(outputs.main, targets).mean()


REGISTER = {"standard": Standard}
