"""Label smoothing: the given label mixed with the uniform distribution."""

from __future__ import annotations

from pydantic import Field

from overfit_lab import config
from overfit_lab.methods.labels.base import LabelMode, one_hot
from overfit_lab.types import Batch, Clock, Targets


class SmoothOptions(config.Options):
    """Options of label smoothing."""

    r: float = Field(0.1, ge=0, le=1, description="share of the uniform distribution")


class Smooth(LabelMode):
    """t = (1 - r) e_y + r/K 1 (Szegedy et al. 2016; LS in SGLR, Yu et al. 2024)."""

    Options = SmoothOptions
    options: SmoothOptions

    def targets(self, batch: Batch, clock: Clock) -> Targets:
        """Smoothed rows (B, K)."""
        n_classes = self.context.n_classes
        probs = one_hot(batch.y, n_classes) * (1 - self.options.r) + self.options.r / n_classes
        return Targets(probs=probs, given=batch.y)


REGISTER = {"smooth": Smooth}
