"""The base class of schedules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from overfit_lab import config


class Schedule(ABC):
    """The factor on the base learning rate (or on eps) as training goes on.

    ``milestones`` are the completed epochs at which it drops at once; none for a smooth schedule.
    """

    Options: ClassVar[type[config.Options]] = config.Options

    def __init__(self, options: config.Options, n_epochs: int) -> None:
        self.n_epochs = n_epochs
        self.milestones: list[int] = []

    @abstractmethod
    def factor(self, progress: float) -> float:
        """Factor >= 0 at ``progress`` completed epochs (fractions count), in [0, n_epochs]."""
