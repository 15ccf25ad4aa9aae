"""One drop of the learning rate (Rice et al. 2020)."""

from __future__ import annotations

from pydantic import Field

from overfit_lab import config
from overfit_lab.config import Moment, resolve_moment
from overfit_lab.methods.schedules.base import Schedule


class OneDropOptions(config.Options):
    """Options of the schedule with one drop."""

    epoch: Moment = Field("50%", description="when it drops")
    gamma: float = Field(0.1, gt=0, le=1, description="factor after the drop")


class OneDrop(Schedule):
    """1 before the drop, gamma after it."""

    Options = OneDropOptions

    def __init__(self, options: OneDropOptions, n_epochs: int) -> None:
        super().__init__(options, n_epochs)
        self.milestones = [resolve_moment(options.epoch, n_epochs)]
        self.gamma = options.gamma

    def factor(self, progress: float) -> float:
        """Gamma from the drop on."""
        return self.gamma if progress >= self.milestones[0] else 1.0


REGISTER = {"one-drop": OneDrop}
