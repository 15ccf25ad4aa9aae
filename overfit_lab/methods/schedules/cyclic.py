"""Cyclic learning rate: up and down again (Smith and Topin 2017, arXiv 1708.07120, superconvergence)."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from overfit_lab import config
from overfit_lab.config import Moment
from overfit_lab.config.quantities import parse_percent
from overfit_lab.methods.schedules.base import Schedule


class CyclicOptions(config.Options):
    """Options of the cyclic schedule."""

    peak: Moment = Field("40%", description="epoch of the peak, within a cycle")
    n_cycles: int = Field(1, ge=1, description="equal cycles in the run")


class Cyclic(Schedule):
    """From 0 linearly up to 1 at the peak and down to 0 at the end of each cycle; one cycle in Rice et al. (2020)."""

    Options = CyclicOptions
    options: CyclicOptions

    def __init__(self, options: CyclicOptions, n_epochs: int) -> None:
        super().__init__(options, n_epochs)
        self.length = n_epochs / options.n_cycles
        share = parse_percent(options.peak)
        self.peak = share * self.length if share is not None else float(options.peak)

    def refusal(self) -> str | None:
        """A peak at the end of its cycle or after it, from which nothing comes down."""
        if self.peak < self.length:
            return None
        return (
            f"peak = {self.options.peak}: a cycle ends after {self.length:g} of the run's {self.n_epochs} epochs, so "
            f"nothing would come down from its peak; give an epoch below {self.length:g}, or a share such as 40%"
        )

    def factor(self, progress: float) -> float:
        """Linear up to the peak, linear down after it."""
        within = progress % self.length if progress < self.n_epochs else self.length
        peak = min(self.peak, self.length)  # of a run from before a later one was refused
        return float(np.interp(within, [0, peak, self.length], [0 if peak else 1, 1, 0]))


REGISTER = {"cyclic": Cyclic}
