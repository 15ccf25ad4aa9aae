"""Many small decays of the learning rate (Rice et al. 2020)."""

from __future__ import annotations

import math

from pydantic import Field

from overfit_lab import config
from overfit_lab.methods.schedules.base import Schedule


class MultiDecayOptions(config.Options):
    """Options of the schedule with many decays."""

    n_decays: int = Field(10, ge=1, description="equal steps in which the rate goes down over the run")


class MultiDecay(Schedule):
    """1 - m/n in the m-th of n equal parts of the run (Rice et al. 2020: ten parts of 20 epochs)."""

    Options = MultiDecayOptions
    options: MultiDecayOptions

    def factor(self, progress: float) -> float:
        """A staircase from 1 down to 1/n."""
        part = math.floor(progress / self.n_epochs * self.options.n_decays + 1e-9)
        return 1 - min(part, self.options.n_decays - 1) / self.options.n_decays


REGISTER = {"multi-decay": MultiDecay}
