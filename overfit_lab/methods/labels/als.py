"""ALS: adversarial label smoothing (Goibert and Dohmatob 2019, arXiv 1906.11567)."""

from __future__ import annotations

from torch import Tensor

from overfit_lab.methods.labels.base import one_hot
from overfit_lab.methods.labels.wrong_classes import WrongClasses


class Als(WrongClasses):
    """t = (1 - r) e_y + r e_argmin z: the share goes to the class that the model thinks least likely."""

    def direction(self, logits: Tensor, y: Tensor) -> Tensor:
        """One-hot rows at the smallest logit, which may be the given class."""
        return one_hot(logits.argmin(dim=1), self.context.n_classes)


REGISTER = {"als": Als}
