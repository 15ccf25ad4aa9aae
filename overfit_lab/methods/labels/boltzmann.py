"""BALS: Boltzmann label smoothing (Goibert and Dohmatob 2019, arXiv 1906.11567)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from overfit_lab.methods.labels.wrong_classes import WrongClasses, WrongClassesOptions, mask_given_class


class BoltzmannOptions(WrongClassesOptions):
    """Options of Boltzmann label smoothing."""

    temperature: float = Field(1.0, gt=0, description="T, divides the logits; below 1 sharpens")


class Boltzmann(WrongClasses):
    """t = (1 - r) e_y + r softmax over the wrong classes of z/T."""

    Options = BoltzmannOptions
    options: BoltzmannOptions

    def direction(self, logits: Tensor, y: Tensor) -> Tensor:
        """Softmax over the wrong classes, 0 at the given one."""
        return torch.softmax(mask_given_class(logits, y) / self.options.temperature, dim=1)


REGISTER = {"boltzmann": Boltzmann}
