"""SBLS: second-best label smoothing (Goibert and Dohmatob 2019, arXiv 1906.11567)."""

from __future__ import annotations

from torch import Tensor

from overfit_lab.methods.labels.base import one_hot
from overfit_lab.methods.labels.wrong_classes import WrongClasses, mask_given_class


class SecondBest(WrongClasses):
    """t = (1 - r) e_y + r e_(best wrong class): the share goes to the wrong class with the largest logit."""

    def direction(self, logits: Tensor, y: Tensor) -> Tensor:
        """One-hot rows at the best wrong class."""
        return one_hot(mask_given_class(logits, y).argmax(dim=1), self.context.n_classes)


REGISTER = {"second-best": SecondBest}
