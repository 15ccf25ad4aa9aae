"""SWA: stochastic weight averaging (Izmailov et al. 2018, arXiv 1803.05407)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from overfit_lab import config
from overfit_lab.config import Moment, resolve_moment
from overfit_lab.methods.combination import Combination
from overfit_lab.methods.regularizers.average import WeightAverage, recompute_statistics
from overfit_lab.methods.regularizers.base import RegularizerContext
from overfit_lab.types import Clock

WITHOUT_DECAY = "50%"


class SwaOptions(config.Options):
    """Options of stochastic weight averaging."""

    start_epoch: Moment | None = Field(
        None, description="the first epoch whose end counts is the one after it; null: the first decay, or 50%"
    )
    every: int = Field(1, ge=1, description="epochs between states that enter the mean")
    bn: Literal["recompute", "average"] = Field(
        "recompute", description="batch-norm statistics from the clean training images, or the mean of the raw ones"
    )


class Swa(WeightAverage):
    """The arithmetic mean of the weights at the ends of epochs, from the first decay on.

    It is evaluated and probed beside the raw weights, as ``@swa``; training does not see it. In adversarial training
    it is half of KD-SWA (Chen et al. 2021).

    Cost: one addition of the weights an epoch, and at each evaluation a forward pass over the training images where
    there is batch norm to recompute.
    """

    Options = SwaOptions

    def __init__(self, options: SwaOptions, context: RegularizerContext) -> None:
        super().__init__(options, context)
        start = WITHOUT_DECAY if options.start_epoch is None else options.start_epoch
        self.start_epoch = resolve_moment(start, context.n_epochs)
        self.every = options.every
        self.bn = options.bn

    @classmethod
    def settle(cls, options: config.Options, run: Combination) -> config.Options:
        """Start at the schedule's first decay."""
        content = options.model_dump()
        if content["start_epoch"] is None:
            decays = [epoch for epoch in run.schedule.milestones if 0 < epoch < run.config.epochs]
            content["start_epoch"] = decays[0] if decays else WITHOUT_DECAY
        return cls.Options.model_validate(content)

    def epoch_ended(self, clock: Clock) -> None:
        """Take in the weights, where this epoch counts."""
        # clock.epoch counts the epoch that has just ended, so the first mean is of the weights after start_epoch + 1.
        after = clock.epoch - self.start_epoch
        if after > 0 and (after - 1) % self.every == 0:
            self.take_in(1 / (int(self.count) + 1))

    @torch.no_grad()
    def second_weights(self, model: nn.Module) -> bool:
        """The mean, with batch-norm statistics that go with it."""
        present = super().second_weights(model)
        if present and self.bn == "recompute":
            recompute_statistics(model, self.context.train, self.context.seed)
        return present


REGISTER = {"swa": Swa}
