"""The components of a run together, so that each can refuse a combination that makes no sense."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from overfit_lab.config import RunConfig
from overfit_lab.config.options import parse_options
from overfit_lab.errors import ConfigError

if TYPE_CHECKING:
    from overfit_lab.methods.schedules.base import Schedule


@dataclass(frozen=True)
class Combination:
    """The classes that a configuration names.

    Args:
        config: every component's options checked and complete.
        attack: class of the training attack.
        objective: class of the objective.
        labels: class of the label mode.
        regularizers: class of each regularizer by its name.
        schedule: the learning-rate schedule of this run.
    """

    config: RunConfig
    attack: Any
    objective: Any
    labels: Any
    regularizers: Mapping[str, Any]
    schedule: Schedule

    @property
    def attacks(self) -> bool:
        """Whether training sees images that differ from the clean ones: there is a ball, and steps to go in it."""
        attack = self.config.attack
        moves = attack.n_steps > 0 or not getattr(self.attack, "adversarial", True)
        return bool(self.objective.needs_attack and attack.eps > 0 and moves)

    def components(self) -> Iterator[tuple[str, Any, Any]]:
        """Key, class and options of everything that may refuse."""
        config = self.config
        yield "objective", self.objective, parse_options(self.objective, config.objective.options, prefix="objective")
        yield "labels", self.labels, parse_options(self.labels, config.labels.options, prefix="labels")
        for part in config.regularizers:
            cls = self.regularizers[part.name]
            yield "regularizers", cls, parse_options(cls, part.options, prefix=f"regularizers.{part.name}")

    def check(self) -> None:
        """Ask every component whether it makes sense in this run.

        Raises:
            ConfigError: the first reason given, in one line that names the component.
        """
        names = [self.config.objective.name, self.config.labels.name, *(p.name for p in self.config.regularizers)]
        for name, (key, cls, options) in zip(names, self.components(), strict=True):
            refuse = getattr(cls, "refuse", None)
            reason = refuse(options, self) if refuse is not None else None
            if reason:
                raise ConfigError(f"{key} {name!r}: {reason}")
