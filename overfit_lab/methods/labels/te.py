"""TE: temporal ensembling (Laine and Aila 2017, arXiv 1610.02242) in adversarial training (Dong et al. 2022)."""

from __future__ import annotations

import math

import torch
from pydantic import Field, model_validator
from torch import Tensor

from overfit_lab import config
from overfit_lab.config import Moment, resolve_moment
from overfit_lab.methods.labels.base import CleanForward, LabelContext, LabelMode, Refresh, one_hot
from overfit_lab.types import Batch, Clock, Outputs, Targets


class TeOptions(config.Options):
    """Options of temporal ensembling; epochs are those of Dong et al. as shares of their 200."""

    eta: float = Field(0.9, ge=0, lt=1, description="momentum of the ensemble prediction")
    weight: float = Field(300.0, ge=0, description="weight of the consistency term at the end of its ramp")
    start_epoch: Moment = Field("45%", description="predictions are averaged and the term is there from here on")
    ramp_end: Moment = Field("75%", description="the term has its full weight from here on")

    @model_validator(mode="after")
    def _ordered(self) -> TeOptions:
        both_shares = isinstance(self.start_epoch, str) and isinstance(self.ramp_end, str)
        both_epochs = isinstance(self.start_epoch, int) and isinstance(self.ramp_end, int)
        # A share and an epoch cannot be compared before the run's length is known; the length used here is arbitrary.
        if (both_shares or both_epochs) and resolve_moment(self.ramp_end, 10**6) < resolve_moment(
            self.start_epoch, 10**6
        ):
            raise ValueError(f"ramp_end {self.ramp_end} comes before start_epoch {self.start_epoch}")
        return self


class Te(LabelMode):
    """The target is e_y; from the start epoch on the loss adds a pull towards the ensemble prediction.

    In formulas::

        p_ens <- eta p_ens + (1 - eta) p(x),    normalised to sum 1
        w(t) mean_k (p_k(x') - p_ens,k)^2,      w = weight exp(-5 (1 - s)^2)

    where s goes from 0 at the start epoch to 1 at the end of the ramp. The term is in the attack's loss as well (Dong
    et al. 2022, arXiv 2106.01606). p(x) is taken before the attack with batch norm in eval mode, and the sum starts
    from 0, as in the authors' code; samples that were never seen have the uniform distribution and weigh nothing.

    Cost: one forward pass without gradients on the clean images a step; memory of N x K floats.
    """

    Options = TeOptions
    options: TeOptions
    refresh = Refresh.BEFORE_ATTACK
    sees_images = False

    def __init__(self, options: TeOptions, context: LabelContext) -> None:
        super().__init__(options, context)
        self.start_epoch = resolve_moment(options.start_epoch, context.n_epochs)
        self.ramp_end = resolve_moment(options.ramp_end, context.n_epochs)
        self.sums = context.rows(lambda part: torch.zeros(len(context.labels[part]), context.n_classes))

    @property
    def clean_forward(self) -> CleanForward:
        """In eval mode."""
        return CleanForward.EVAL

    def active(self, clock: Clock) -> bool:
        """From the start epoch on."""
        return clock.epoch >= self.start_epoch

    @torch.no_grad()
    def update(self, batch: Batch, outputs: Outputs, clock: Clock) -> None:
        """Add the predictions on this batch to its samples' sums."""
        new = torch.softmax(outputs.main.float(), dim=1)
        self.sums[batch.index] = self.options.eta * self.sums[batch.index] + (1 - self.options.eta) * new

    def ensemble(self, index: Tensor) -> Tensor:
        """p_ens of samples (B,), rows (B, K) that sum to 1."""
        # The sums start from 0, so after n visits they add up to 1 - eta^n: dividing by that is the bias correction.
        rows = self.sums[index]
        total = rows.sum(dim=1, keepdim=True)
        return torch.where(total > 0, rows / total.clamp_min(1e-12), 1 / self.context.n_classes)

    def weight(self, clock: Clock) -> float:
        """w(t), constant within an epoch."""
        if not self.active(clock):
            return 0.0
        # Laine and Aila's ramp exp(-5 (1 - s)^2), but from the start epoch on, as the average is useless before it.
        length = self.ramp_end - self.start_epoch
        share = min((clock.epoch - self.start_epoch) / length, 1.0) if length > 0 else 1.0
        return self.options.weight * math.exp(-5 * (1 - share) ** 2)

    def targets(self, batch: Batch, clock: Clock) -> Targets:
        """One-hot rows (B, K), and the ensemble prediction with the weight of its term."""
        probs = one_hot(batch.y, self.context.n_classes)
        if not self.active(clock):
            return Targets(probs=probs, given=batch.y)
        ensemble = self.ensemble(batch.index)
        return Targets(probs=probs, given=batch.y, consistency=ensemble, consistency_weight=self.weight(clock))

    def state_dict(self) -> dict[str, Tensor]:
        """The sums of predictions (N, K)."""
        return {"sums": self.sums.tensor}


REGISTER = {"te": Te}
