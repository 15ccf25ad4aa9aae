"""Hard labels: the given label and nothing else."""

from __future__ import annotations

from overfit_lab.methods.labels.base import LabelMode, one_hot
from overfit_lab.types import Batch, Clock, Targets


class Hard(LabelMode):
    """t = e_y, the one-hot given label."""

    def targets(self, batch: Batch, clock: Clock) -> Targets:
        """One-hot rows (B, K)."""
        return Targets(probs=one_hot(batch.y, self.context.n_classes), given=batch.y)


REGISTER = {"hard": Hard}
