"""TRADES (Zhang et al. 2019, arXiv 1901.08573)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from overfit_lab import config
from overfit_lab.methods.attacks.base import Loss, Start
from overfit_lab.methods.objectives.base import normal_start
from overfit_lab.methods.objectives.clean_and_adversarial import CleanAndAdversarial
from overfit_lab.methods.objectives.losses import consistency, kl_divergence, soft_cross_entropy
from overfit_lab.types import Batch, Outputs, Targets


class TradesOptions(config.Options):
    """Options of TRADES."""

    beta: float = Field(6.0, ge=0, description="weight of the divergence between clean and adversarial prediction")
    start_std: float = Field(
        1e-3, ge=0, description="standard deviation of the normal noise that the attack starts from"
    )


class Trades(CleanAndAdversarial):
    """CE(z(x), t) + beta KL(p(x) || p(x')), on x' that maximise that divergence from a start of x + 1e-3 N(0, 1).

    Both predictions have gradients in the loss. Unlike the authors' code the clean images are passed once a step, not
    twice; batch norm sees the clean batch and then the adversarial one. A label mode's consistency term is taken on the
    adversarial images, and the attack then maximises all of the loss that depends on them: beta KL and that term.
    """

    Options = TradesOptions
    options: TradesOptions

    @property
    def attack_start(self) -> Start:
        """A little normal noise: at x itself the divergence has no gradient."""
        return normal_start(self.options.start_std)

    def attack_loss(self, model: nn.Module, batch: Batch, targets: Targets) -> Loss:
        """KL(p(x) || p(x')) of each sample (B,); p(x) is computed once, in the mode in which the attack is."""
        clean: list[Tensor] = []

        def loss(logits: Tensor) -> Tensor:
            if not clean:  # here and not before: the model is now in the attack's mode
                with torch.no_grad():
                    clean.append(model(batch.x).float())
            divergence = kl_divergence(clean[0], logits)
            if targets.consistency is None:
                return divergence
            return self.options.beta * divergence + consistency(logits, targets)

        return loss

    def loss(self, outputs: Outputs, targets: Targets) -> Tensor:
        """Mean over the batch."""
        clean, adv = outputs.both
        divergence = kl_divergence(clean, adv)
        total = soft_cross_entropy(clean, targets.probs) + self.options.beta * divergence + consistency(adv, targets)
        return total.mean()


REGISTER = {"trades": Trades}
