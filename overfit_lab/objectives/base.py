"""What an objective is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from overfit_lab import config
from overfit_lab.attacks.base import Loss, Start
from overfit_lab.types import Batch, Outputs, Targets


class Objective(ABC):
    """The outer loss of training. Runs no backward pass, steps no optimiser, changes no mode."""

    Options: ClassVar[type[config.Options]] = config.Options
    needs_attack: ClassVar[bool] = True

    def __init__(self, options: config.Options) -> None:
        self.options = options

    @abstractmethod
    def attack_loss(self, model: nn.Module, batch: Batch, targets: Targets) -> Loss:
        """What the training attack maximises, one value a sample (B,).

        The returned function is called inside the attack, with the model in the attack's mode and its parameters
        frozen; predictions on clean images that it needs belong there, not before.
        """

    @property
    def attack_start(self) -> Start | None:
        """Where the training attack starts, where the objective has a start of its own; else None."""
        return None

    @abstractmethod
    def forward(self, model: nn.Module, batch: Batch, x_adv: Tensor) -> Outputs:
        """The forward passes that the loss needs, with gradients, in the mode the model is in."""

    @abstractmethod
    def loss(self, outputs: Outputs, targets: Targets) -> Tensor:
        """The scalar to minimise, a mean over the batch."""
