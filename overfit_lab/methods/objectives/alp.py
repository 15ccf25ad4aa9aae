"""ALP: adversarial logit pairing (Kannan et al. 2018, arXiv 1803.06373)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from overfit_lab import config
from overfit_lab.methods.attacks.base import Loss
from overfit_lab.methods.objectives.clean_and_adversarial import CleanAndAdversarial
from overfit_lab.methods.objectives.losses import given_label_loss, target_loss
from overfit_lab.types import Batch, Outputs, Targets


class AlpOptions(config.Options):
    """Options of adversarial logit pairing."""

    b: float = Field(0.5, ge=0, description="weight of the squared distance between clean and adversarial logits")
    clean_share: float = Field(0.5, ge=0, le=1, description="share of the clean images in the cross entropy")


class Alp(CleanAndAdversarial):
    """1/2 CE(z(x), t) + 1/2 CE(z(x'), t) + b ||z(x) - z(x')||^2; the attack maximises the cross entropy.

    Mosbach et al. (2018, arXiv 1810.12042) show that it can mask gradients: check its robustness by strong attacks. A
    label mode's consistency term is taken on both kinds of images.
    """

    Options = AlpOptions
    options: AlpOptions

    def attack_loss(self, model: nn.Module, batch: Batch, targets: Targets) -> Loss:
        """Cross entropy to the given label of each sample (B,)."""
        return lambda logits: given_label_loss(logits, targets)

    def loss(self, outputs: Outputs, targets: Targets) -> Tensor:
        """Mean over the batch."""
        clean, adv = outputs.both
        share = self.options.clean_share
        entropy = share * target_loss(clean, targets) + (1 - share) * target_loss(adv, targets)
        return (entropy + self.options.b * (clean - adv).square().sum(dim=1)).mean()


REGISTER = {"alp": Alp}
