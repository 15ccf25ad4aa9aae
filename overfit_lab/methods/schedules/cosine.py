"""Cosine learning rate: from the base rate down to a floor over the whole run."""

from __future__ import annotations

import math

from pydantic import Field

from overfit_lab import config
from overfit_lab.methods.schedules.base import Schedule


class CosineOptions(config.Options):
    """Options of the cosine schedule."""

    floor: float = Field(0.0, ge=0, le=1, description="factor at the end of the run")


class Cosine(Schedule):
    """floor + (1 - floor) (1 + cos(pi t / n)) / 2 after t of n epochs, updated every step (Loshchilov, Hutter 2017)."""

    Options = CosineOptions
    options: CosineOptions

    def factor(self, progress: float) -> float:
        """Half a cosine from 1 to the floor."""
        share = min(max(progress / self.n_epochs, 0.0), 1.0)
        return self.options.floor + (1 - self.options.floor) * (1 + math.cos(math.pi * share)) / 2


REGISTER = {"cosine": Cosine}
