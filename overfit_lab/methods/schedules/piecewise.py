"""Piecewise-constant learning rate: divided at given epochs."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from overfit_lab import config
from overfit_lab.config import Moment, resolve_moment
from overfit_lab.methods.schedules.base import Schedule


class PiecewiseOptions(config.Options):
    """Options of the piecewise schedule."""

    milestones: tuple[Moment, ...] = Field(("50%", "75%"), description="completed epochs, or shares of the run")
    gamma: float = Field(0.1, gt=0, le=1, description="factor at each milestone")

    @field_validator("milestones", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(","))
        return (value,) if isinstance(value, int) else value


class Piecewise(Schedule):
    """gamma^m after m milestones (Rice et al. 2020: 0.1 at epochs 100 and 150 of 200)."""

    Options = PiecewiseOptions

    def __init__(self, options: PiecewiseOptions, n_epochs: int) -> None:
        super().__init__(options, n_epochs)
        self.milestones = sorted(resolve_moment(moment, n_epochs) for moment in options.milestones)
        self.gamma = options.gamma

    def factor(self, progress: float) -> float:
        """Gamma to the number of milestones reached."""
        return float(self.gamma ** sum(progress >= milestone for milestone in self.milestones))


REGISTER = {"piecewise": Piecewise}
