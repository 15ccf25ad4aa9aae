"""Mixup (Zhang et al. 2018, arXiv 1710.09412)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from overfit_lab import config
from overfit_lab.methods.combination import Combination
from overfit_lab.methods.labels.base import Refresh, one_hot
from overfit_lab.methods.regularizers.base import Regularizer, RegularizerContext
from overfit_lab.seeds import derive_generator, derive_seed
from overfit_lab.types import Batch, Clock, Targets


class MixupOptions(config.Options):
    """Options of mixup."""

    alpha: float = Field(1.0, gt=0, description="lambda is drawn from Beta(alpha, alpha), once a batch")


class Mixup(Regularizer):
    """Images lambda x_i + (1 - lambda) x_j with targets lambda t_i + (1 - lambda) t_j, j a shuffle of the batch.

    The attack starts from the mixed image and moves away from both given labels in the same proportion, as in Rice et
    al. (2020).
    """

    Options = MixupOptions
    mixes_samples = True

    def __init__(self, options: MixupOptions, context: RegularizerContext) -> None:
        super().__init__(options, context)
        self.alpha = options.alpha
        self.share = 1.0
        self.partner = torch.zeros(0, dtype=torch.int64)

    @classmethod
    def refuse(cls, options: config.Options, run: Combination) -> str | None:
        """What has one row or one label an image."""
        if run.labels.refresh is not Refresh.NEVER:
            labels = run.config.labels.name
            return f"mixes two samples in an image, and the label mode {labels!r} remembers one prediction a sample"
        if run.objective.one_label_each:
            objective = run.config.objective.name
            return f"gives an image two labels, and the objective {objective!r} needs one"
        return None

    def batch(self, batch: Batch, clock: Clock) -> Batch:
        """Mixed images; labels and indices stay those of the first."""
        # numpy, as torch's Beta takes no generator of one's own.
        rng = np.random.default_rng(derive_seed(self.context.seed, "mixup-share", clock.step))
        self.share = float(rng.beta(self.alpha, self.alpha))
        stream = derive_generator(self.context.seed, "mixup-partner", clock.step, device=batch.x.device)
        self.partner = torch.randperm(len(batch.y), generator=stream, device=stream.device)
        return replace(batch, x=self.share * batch.x + (1 - self.share) * batch.x[self.partner])

    def targets(self, targets: Targets) -> Targets:
        """Targets and given labels mixed like the images."""
        given_probs = targets.given_probs
        if given_probs is None:
            given_probs = one_hot(targets.given, targets.probs.shape[1])
        return replace(targets, probs=self._mix(targets.probs), given_probs=self._mix(given_probs))

    def _mix(self, rows: Tensor) -> Tensor:
        return self.share * rows + (1 - self.share) * rows[self.partner]


REGISTER = {"mixup": Mixup}
