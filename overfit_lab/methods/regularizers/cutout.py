"""Cutout (DeVries and Taylor 2017, arXiv 1708.04552)."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from overfit_lab import config
from overfit_lab.data.augment import Augmenter
from overfit_lab.methods.combination import Combination
from overfit_lab.methods.regularizers.base import Regularizer, RegularizerContext
from overfit_lab.types import Batch, Clock


class CutoutOptions(config.Options):
    """Options of cutout."""

    size: int | None = Field(None, ge=1, description="side of the square in pixels; null: half of the image's side")


class Cutout(Regularizer):
    """A square of each image set to zero before the attack, at a random place, cut off at the edges.

    The same as ``cutout`` among ``data.augment``, as one of the cures that are compared. The attack may change pixels
    in the square.
    """

    Options = CutoutOptions

    def __init__(self, options: CutoutOptions, context: RegularizerContext) -> None:
        super().__init__(options, context)
        n, channels, height, width = context.train.x.shape
        size = options.size if options.size is not None else max(1, min(height, width) // 2)
        self.augmenter = Augmenter(
            ["cutout"], n_samples=n, shape=(channels, height, width), seed=context.seed, cutout_size=size
        )

    @classmethod
    def refuse(cls, options: config.Options, run: Combination) -> str | None:
        """Twice the same."""
        if "cutout" in run.config.data.augment:
            return "is in data.augment already; list one of the two"
        return None

    def batch(self, batch: Batch, clock: Clock) -> Batch:
        """Images with a square cut out."""
        return replace(batch, x=self.augmenter(batch.x, batch.index, clock.epoch))


REGISTER = {"cutout": Cutout}
