"""MART: misclassification-aware adversarial training (Wang et al. 2020, ICLR)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from overfit_lab import config
from overfit_lab.methods.attacks.base import Loss, Start
from overfit_lab.methods.objectives.base import normal_start
from overfit_lab.methods.objectives.clean_and_adversarial import CleanAndAdversarial
from overfit_lab.methods.objectives.losses import given_label_loss, kl_divergence, target_loss
from overfit_lab.types import Batch, Outputs, Targets


class MartOptions(config.Options):
    """Options of MART."""

    lam: float = Field(
        5.0, ge=0, description="lambda, weight of the divergence between clean and adversarial prediction"
    )
    start_std: float = Field(1e-3, ge=0, description="standard deviation of the noise that the attack starts from")


class Mart(CleanAndAdversarial):
    """BCE(z(x'), y) + lambda mean( KL(p(x) || p(x')) (1 - p_y(x)) ).

    BCE(z, y) = CE(z, t) - log(1 - max_(k != y) p_k): the boosted cross entropy. Its first part takes the label mode's
    target t, which is e_y with hard labels; margin and weight always take the given label. The attack maximises the
    cross entropy to the given label from a start of x + 1e-3 N(0, 1), as in the authors' code.
    """

    Options = MartOptions
    options: MartOptions
    one_label_each = True

    @property
    def attack_start(self) -> Start:
        """A little normal noise."""
        return normal_start(self.options.start_std)

    def attack_loss(self, model: nn.Module, batch: Batch, targets: Targets) -> Loss:
        """Cross entropy to the given label of each sample (B,)."""
        return lambda logits: given_label_loss(logits, targets)

    def loss(self, outputs: Outputs, targets: Targets) -> Tensor:
        """Mean over the batch."""
        clean, adv = outputs.both
        boosted = target_loss(adv, targets) - log_one_minus_runner_up(adv, targets.given)
        true_prob = torch.softmax(clean, dim=1).gather(1, targets.given.unsqueeze(1)).squeeze(1)
        return (boosted + self.options.lam * kl_divergence(clean, adv) * (1 - true_prob)).mean()


def log_one_minus_runner_up(logits: Tensor, y: Tensor) -> Tensor:
    """log(1 - max_(k != y) p_k) of each sample (B,), finite also where that probability rounds to 1.

    It is the log-sum-exp of all other classes' log probabilities.
    """
    is_label = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, y.unsqueeze(1), True)
    runner_up = logits.masked_fill(is_label, -torch.inf).argmax(dim=1, keepdim=True)
    log_probs = torch.log_softmax(logits, dim=1)
    return log_probs.scatter(1, runner_up, -torch.inf).logsumexp(dim=1)


REGISTER = {"mart": Mart}
