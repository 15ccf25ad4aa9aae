"""Base of adversarial label smoothing and its variants: smoothing towards wrong classes that the model chooses.

Goibert and Dohmatob 2019, arXiv 1906.11567.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from overfit_lab import config
from overfit_lab.methods.labels.base import LabelContext, LabelMode, Refresh, one_hot
from overfit_lab.types import Batch, Clock, Outputs, Targets


class WrongClassesOptions(config.Options):
    """Options of the label modes that smooth towards wrong classes."""

    r: float = Field(0.1, ge=0, le=1, description="share that goes to other classes")


class WrongClasses(LabelMode):
    """t = (1 - r) e_y + r q, with a distribution q that depends on the logits the loss is taken on.

    Those are on the adversarial images where there are any. q is renewed in every step, after the forward pass, and
    kept for each sample, so that an attack or a probe that asks between two visits gets the last one; before the
    first visit it is uniform over the wrong classes.

    Cost: memory of N x K floats.
    """

    Options: ClassVar[type[config.Options]] = WrongClassesOptions
    options: WrongClassesOptions
    refresh = Refresh.AFTER_FORWARD
    sees_images = False

    def __init__(self, options: WrongClassesOptions, context: LabelContext) -> None:
        super().__init__(options, context)
        self.rows = context.rows(self._uniform)

    def _uniform(self, part: slice) -> Tensor:
        wrong = 1 - one_hot(self.context.labels[part], self.context.n_classes)
        return wrong / wrong.sum(dim=1, keepdim=True)

    @abstractmethod
    def direction(self, logits: Tensor, y: Tensor) -> Tensor:
        """Q of each sample (B, K), rows that sum to 1, from logits (B, K) and given labels (B,)."""

    @torch.no_grad()
    def update(self, batch: Batch, outputs: Outputs, clock: Clock) -> None:
        """Renew q of this batch."""
        self.rows[batch.index] = self.direction(outputs.main.float(), batch.y)

    def targets(self, batch: Batch, clock: Clock) -> Targets:
        """Smoothed rows (B, K)."""
        hard = one_hot(batch.y, self.context.n_classes)
        probs = (1 - self.options.r) * hard + self.options.r * self.rows[batch.index]
        return Targets(probs=probs, given=batch.y)

    def state_dict(self) -> dict[str, Tensor]:
        """Q of each sample (N, K)."""
        return {"rows": self.rows.tensor}


def mask_given_class(logits: Tensor, y: Tensor) -> Tensor:
    """Logits (B, K) with minus infinity at the given class."""
    return logits.scatter(1, y.unsqueeze(1), -torch.inf)
