"""EMA: exponential moving average of the weights (Polyak and Juditsky 1992; Gowal et al. 2020, arXiv 2010.03593)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from overfit_lab import config
from overfit_lab.config import Moment, resolve_moment
from overfit_lab.methods.regularizers.average import WeightAverage, recompute_statistics
from overfit_lab.methods.regularizers.base import RegularizerContext
from overfit_lab.types import Clock


class EmaOptions(config.Options):
    """Options of the exponential moving average."""

    decay: float = Field(0.995, ge=0, lt=1, description="share of the average that a step keeps")
    start_epoch: Moment = Field(0, description="no averaging before it")
    warm: bool = Field(True, description="keep at most (1 + n)/(10 + n) in the n-th step, to forget the start sooner")
    bn: Literal["recompute", "average"] = Field(
        "average", description="batch-norm statistics averaged like weights, or from the clean training images"
    )


class Ema(WeightAverage):
    """An average of the weights over steps: w_ema <- decay w_ema + (1 - decay) w after each step.

    It is evaluated and probed beside the raw weights, as ``@ema``; training does not see it.

    Cost: one pass over the weights a step.
    """

    Options = EmaOptions
    options: EmaOptions

    def __init__(self, options: EmaOptions, context: RegularizerContext) -> None:
        super().__init__(options, context)
        self.start_epoch = resolve_moment(options.start_epoch, context.n_epochs)

    def stepped(self, clock: Clock) -> None:
        """Take in the weights."""
        if clock.epoch < self.start_epoch:
            return
        n = int(self.count)
        decay = min(self.options.decay, (1 + n) / (10 + n)) if self.options.warm else self.options.decay
        self.take_in(1 - decay)

    @torch.no_grad()
    def second_weights(self, model: nn.Module) -> bool:
        """The average, with batch-norm statistics that go with it."""
        present = super().second_weights(model)
        if present and self.options.bn == "recompute":
            recompute_statistics(model, self.context.train, self.context.seed)
        return present


REGISTER = {"ema": Ema}
