"""KD: knowledge distillation (Hinton et al. 2015, arXiv 1503.02531)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from overfit_lab import config
from overfit_lab.methods.combination import Combination
from overfit_lab.methods.labels.base import LabelContext, LabelMode, Refresh, one_hot
from overfit_lab.types import Batch, Clock, Outputs, Targets


class KdOptions(config.Options):
    """Options of knowledge distillation."""

    teacher: str | None = Field(
        None, description="RUN, RUN@CHECKPOINT, a weights file, or train:OBJECTIVE to train one first"
    )
    r: float = Field(0.5, ge=0, le=1, description="share of the teacher's prediction in the target")
    temperature: float = Field(1.0, gt=0, description="divides the teacher's logits")


class Kd(LabelMode):
    """t = r p_teacher(x) + (1 - r) e_y, with the teacher's prediction on the augmented clean image.

    SGLR (Yu et al. 2024, Prop. 2) has this as its special case with another model's prediction.

    Cost: one forward pass of the teacher a step; memory of N x K floats, the predictions of the last visit.
    """

    Options = KdOptions
    options: KdOptions
    refresh = Refresh.BEFORE_ATTACK

    def __init__(self, options: KdOptions, context: LabelContext) -> None:
        super().__init__(options, context)
        if options.teacher is None or context.teacher is None:
            raise ValueError("knowledge distillation needs a teacher")
        self.teacher = context.teacher(options.teacher)
        self.rows = context.one_hot_rows()

    @classmethod
    def refuse(cls, options: config.Options, run: Combination) -> str | None:
        """Without a teacher there is nothing to distil."""
        return teacher_missing("labels.teacher", getattr(options, "teacher", None))

    @torch.no_grad()
    def update(self, batch: Batch, outputs: Outputs, clock: Clock) -> None:
        """Ask the teacher about this batch."""
        logits = self.teacher(batch.x).float()
        self.rows[batch.index] = torch.softmax(logits / self.options.temperature, dim=1)

    def targets(self, batch: Batch, clock: Clock) -> Targets:
        """Rows (B, K); one-hot for samples that the teacher has not seen yet."""
        hard = one_hot(batch.y, self.context.n_classes)
        probs = self.options.r * self.rows[batch.index] + (1 - self.options.r) * hard
        return Targets(probs=probs, given=batch.y)

    def state_dict(self) -> dict[str, Tensor]:
        """The teacher's predictions (N, K)."""
        return {"rows": self.rows.tensor}


def teacher_missing(key: str, teacher: str | None) -> str | None:
    """The reason to refuse a run whose teacher is not named."""
    if teacher is not None:
        return None
    return f"needs a teacher: set {key} to a run folder, a weights file, or train:pgd-at to train one first"


REGISTER = {"kd": Kd}
