"""The base class of objectives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from overfit_lab import config
from overfit_lab.methods.attacks.base import Loss, Start
from overfit_lab.processes.draws import draw
from overfit_lab.types import Batch, Outputs, Targets

if TYPE_CHECKING:
    from overfit_lab.methods.combination import Combination


class Objective(ABC):
    """The outer loss of training. Runs no backward pass, steps no optimiser, changes no mode."""

    Options: ClassVar[type[config.Options]] = config.Options
    needs_attack: ClassVar[bool] = True
    """Whether the training attack runs."""
    robust: ClassVar[bool] = True
    """Whether the best epoch is that of the highest robust accuracy; else that of the highest clean accuracy."""
    one_label_each: ClassVar[bool] = False
    """Whether the loss is only defined where each image has one given label."""
    pairs_samples: ClassVar[bool] = False
    """Whether the loss is on pairs of the i-th image of a batch's first half and the i-th of its second half."""

    def __init__(self, options: config.Options) -> None:
        self.options = options

    @classmethod
    def refuse(cls, options: config.Options, run: Combination) -> str | None:
        """Why this objective makes no sense in that run, in a few words; None where it does."""
        return None

    def inputs(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The objective's clean images (B, ...): the batch's, or noisy ones."""
        return x

    @abstractmethod
    def attack_loss(self, model: nn.Module, batch: Batch, targets: Targets) -> Loss:
        """The loss that the training attack maximises, one value a sample (B,).

        The returned function is called inside the attack, with the model in the attack's mode and its parameters
        frozen; compute predictions on clean images there, not before.
        """

    @property
    def attack_start(self) -> Start | None:
        """The objective's own start of the training attack; None for the attack's."""
        return None

    @abstractmethod
    def forward(self, model: nn.Module, batch: Batch, x_adv: Tensor) -> Outputs:
        """The forward passes that the loss needs, with gradients, in the mode the model is in."""

    @abstractmethod
    def loss(self, outputs: Outputs, targets: Targets) -> Tensor:
        """The scalar to minimise, a mean over the batch."""


def add_noise(x: Tensor, std: float, generator: torch.Generator) -> Tensor:
    """Images (B, ...) with normal noise of that standard deviation, kept in [0, 1]."""
    noise = draw(torch.randn, x.shape, generator, dtype=x.dtype)
    return (x + std * noise).clamp(0, 1)


def normal_start(std: float) -> Start:
    """An attack's start at the clean image plus normal noise of that standard deviation."""

    def start(x: Tensor, generator: torch.Generator) -> Tensor:
        noise = draw(torch.randn, x.shape, generator, dtype=x.dtype)
        return x + std * noise

    return start
