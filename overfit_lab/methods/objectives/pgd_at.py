"""PGD adversarial training (Madry et al. 2018, arXiv 1706.06083)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from overfit_lab import config
from overfit_lab.methods.attacks.base import Loss
from overfit_lab.methods.objectives.base import Objective
from overfit_lab.methods.objectives.losses import given_label_loss, target_loss
from overfit_lab.types import Batch, Outputs, Targets


class PgdAtOptions(config.Options):
    """Options of PGD adversarial training."""

    attack_labels: Literal["given", "targets"] = Field(
        "given", description="what the attack moves away from: the given label, or the label mode's distribution"
    )


class PgdAt(Objective):
    """Cross entropy CE(z(x'), t) on adversarial images x' that maximise the cross entropy to the given label.

    A label mode with a consistency term has it in the attack's loss as well (Dong et al. 2022, arXiv 2106.01606).
    """

    Options = PgdAtOptions

    def __init__(self, options: PgdAtOptions) -> None:
        super().__init__(options)
        self._loss = given_label_loss if options.attack_labels == "given" else target_loss

    def attack_loss(self, model: nn.Module, batch: Batch, targets: Targets) -> Loss:
        """Cross entropy of each sample (B,)."""
        loss = self._loss
        return lambda logits: loss(logits, targets)

    def forward(self, model: nn.Module, batch: Batch, x_adv: Tensor) -> Outputs:
        """Logits on the adversarial images."""
        return Outputs(adv=model(x_adv).float())

    def loss(self, outputs: Outputs, targets: Targets) -> Tensor:
        """Mean over the batch."""
        return target_loss(outputs.main, targets).mean()


REGISTER = {"pgd-at": PgdAt}
