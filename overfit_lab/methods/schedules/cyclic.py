"""Cyclic learning rate: up and down again (Smith and Topin 2017, arXiv 1708.07120, superconvergence)."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from overfit_lab import config
from overfit_lab.config import Moment, resolve_moment
from overfit_lab.methods.schedules.base import Schedule


class CyclicOptions(config.Options):
    """Options of the cyclic schedule."""

    peak: Moment = Field("40%", description="epoch of the peak, within a cycle")
    n_cycles: int = Field(1, ge=1, description="equal cycles in the run")


class Cyclic(Schedule):
    """From 0 linearly up to 1 at the peak and down to 0 at the end of each cycle; one cycle in Rice et al. (2020)."""

    Options = CyclicOptions

    def __init__(self, options: CyclicOptions, n_epochs: int) -> None:
        super().__init__(options, n_epochs)
        self.length = n_epochs / options.n_cycles
        share = options.peak if isinstance(options.peak, str) else None
        peak = float(share[:-1]) / 100 * self.length if share else float(resolve_moment(options.peak, n_epochs))
        self.peak = min(peak, self.length)

    def factor(self, progress: float) -> float:
        """Linear up to the peak, linear down after it."""
        within = progress % self.length if progress < self.n_epochs else self.length
        return float(np.interp(within, [0, self.peak, self.length], [0 if self.peak else 1, 1, 0]))


REGISTER = {"cyclic": Cyclic}
