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
        self.options, self.n_epochs = options, n_epochs
        self.milestones: list[int] = []

    def refusal(self) -> str | None:
        """Why no new run of this length should have these options, such as a rise that it does not see the end of.

        It begins with the option and its value: ``until = 60: ...``. None where it may.
        """
        return None

    @abstractmethod
    def factor(self, progress: float) -> float:
        """Factor >= 0 at ``progress`` completed epochs (fractions count), in [0, n_epochs]."""
