"""KD-AT: self-distillation in adversarial training (Chen et al. 2021, ICLR)."""

from __future__ import annotations

from pydantic import Field, model_validator
from torch import Tensor

from overfit_lab import config
from overfit_lab.methods.combination import Combination
from overfit_lab.methods.objectives.losses import kl_divergence
from overfit_lab.methods.regularizers.base import Regularizer, RegularizerContext, Step
from overfit_lab.types import Outputs


class KdAtOptions(config.Options):
    """Options of KD-AT; a teacher is RUN, RUN@CHECKPOINT, a weights file, or train:OBJECTIVE to train it first."""

    standard_teacher: str | None = Field("train:standard", description="a model of standard training")
    robust_teacher: str | None = Field("train:pgd-at", description="a model of adversarial training")
    l1: float = Field(0.1, ge=0, le=1, description="weight of the divergence from the standard teacher")
    l2: float = Field(0.6, ge=0, le=1, description="weight of the divergence from the robust teacher")
    temperature: float = Field(2.0, gt=0, description="T, divides all logits in the divergences")

    @model_validator(mode="after")
    def _shares(self) -> KdAtOptions:
        if self.l1 + self.l2 > 1:
            raise ValueError(f"l1 + l2 = {self.l1 + self.l2:g}: expected at most 1")
        return self


class KdAt(Regularizer):
    """(1 - l1 - l2) loss + l1 T^2 KL(p_std || p) + l2 T^2 KL(p_rob || p), all predictions at temperature T.

    The teachers, of standard and of adversarial training, look at the images that the loss is taken on: adversarial
    ones where there are any. They are in eval mode.

    Cost: one forward pass of each teacher a step, and before training the teachers' own training where a recipe says
    ``train:``.
    """

    Options = KdAtOptions
    options: KdAtOptions

    def __init__(self, options: KdAtOptions, context: RegularizerContext) -> None:
        super().__init__(options, context)
        named = ((options.l1, options.standard_teacher), (options.l2, options.robust_teacher))
        self.teachers = [(share, context.teacher(name)) for share, name in named if name is not None and share > 0]

    @classmethod
    def refuse(cls, options: config.Options, run: Combination) -> str | None:
        """A share for a teacher that is not named."""
        for share, key in (("l1", "standard_teacher"), ("l2", "robust_teacher")):
            if getattr(options, key, None) is None and getattr(options, share, 0) > 0:
                return f"needs a teacher: set {key} to a run folder, a weights file or train:OBJECTIVE, or {share} to 0"
        return None

    def loss(self, loss: Tensor, step: Step, outputs: Outputs) -> Tensor:
        """The weighted sum."""
        x = step.x_adv if outputs.adv is not None else step.batch.x
        temperature = self.options.temperature
        total = (1 - self.options.l1 - self.options.l2) * loss
        for share, teacher in self.teachers:
            divergence = kl_divergence(teacher(x) / temperature, outputs.main / temperature).mean()
            total = total + share * temperature**2 * divergence
        return total


REGISTER = {"kd-at": KdAt}
