"""Losses of the labels, for attacks that aim at a wrong answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from overfit_lab.errors import ConfigError
from overfit_lab.methods.attacks.base import refuse_few_classes


class LabelLoss(ABC):
    """A loss of logits against labels, one value a sample; larger is worse for the model.

    Args:
        y: the labels (B,) int64.
    """

    least_classes: ClassVar[int] = 2

    def __init__(self, y: Tensor) -> None:
        self.y = y

    @abstractmethod
    def __call__(self, logits: Tensor) -> Tensor:
        """Logits (B, K) to losses (B,)."""

    def fooled(self, logits: Tensor) -> Tensor:
        """Whether the largest logit is another than the label's (B,) bool."""
        return logits.argmax(dim=1) != self.y


class CrossEntropy(LabelLoss):
    """-log softmax(z)_y in nats, in [0, inf). Its gradient dies where the softmax saturates."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits (B, K) to losses (B,)."""
        return functional.cross_entropy(logits, self.y, reduction="none")


class Margin(LabelLoss):
    """max_(j != y) z_j - z_y, positive where the model is wrong; does not saturate (Carlini and Wagner 2017)."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits (B, K) to losses (B,)."""
        label = self.y[:, None]
        others = logits.scatter(1, label, -torch.inf)
        return others.amax(dim=1) - logits.gather(1, label).squeeze(1)


class LogitsRatio(LabelLoss):
    """Difference of logits ratio, (max_(j != y) z_j - z_y) / (z_(1) - z_(3)): no scale or shift of logits changes it.

    z_(i) is the i-th largest logit. With two classes z_(3) is not there, and with z_(2) in its place the ratio would be
    the answer itself, 1 or -1, without a gradient. Croce and Hein (2020), Eq. 6.
    """

    least_classes = 3

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits (B, K) to losses (B,).

        Raises:
            ConfigError: there are fewer than three classes.
        """
        refuse_few_classes("loss 'dlr'", self, logits.shape[1])
        top = logits.topk(3, dim=1).values
        width = top[:, 0] - top[:, -1]
        return Margin(self.y)(logits) / torch.where(width > 0, width, 1)


LOSSES = {"ce": CrossEntropy, "margin": Margin, "dlr": LogitsRatio}


def labels_of(loss: Any, attack: str) -> Tensor:
    """The labels (B,) that a loss is taken against.

    Raises:
        ConfigError: it is no loss of labels, so an attack that aims at wrong answers cannot be used with it.
    """
    if not isinstance(loss, LabelLoss):
        raise ConfigError(
            f"attack {attack!r}: aims at wrong answers and cannot ascend a training loss; "
            "train with attack.name = pgd, and name this one as evaluation.attack"
        )
    return loss.y
