"""Base of TRADES, MART and adversarial logit pairing: clean and adversarial predictions are compared."""

from __future__ import annotations

from torch import Tensor, nn

from overfit_lab import config
from overfit_lab.methods.combination import Combination
from overfit_lab.methods.objectives.base import Objective
from overfit_lab.types import Batch, Outputs


class CleanAndAdversarial(Objective):
    """Passes the clean images and then the adversarial ones, once each a step; without an attack it is refused."""

    @classmethod
    def refuse(cls, options: config.Options, run: Combination) -> str | None:
        """Without adversarial images there is nothing to compare with."""
        if run.attacks:
            return None
        attack = run.config.attack
        return (
            "compares clean with adversarial images, and this attack makes none "
            f"(attack.eps = {config.format_pixels(attack.eps)}, attack.n_steps = {attack.n_steps}); raise both above 0"
        )

    def forward(self, model: nn.Module, batch: Batch, x_adv: Tensor) -> Outputs:
        """Logits on the clean and on the adversarial images."""
        return Outputs(clean=model(batch.x).float(), adv=model(x_adv).float())
