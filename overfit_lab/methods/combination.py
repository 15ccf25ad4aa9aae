"""The components of a run together, so that each can refuse a combination that makes no sense."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from overfit_lab.config import Part, RunConfig
from overfit_lab.config.options import dump_options, parse_options
from overfit_lab.config.registry import Registry
from overfit_lab.errors import ConfigError

if TYPE_CHECKING:
    from overfit_lab.methods.schedules.base import Schedule


@dataclass(frozen=True)
class Choice:
    """A component that a configuration names."""

    name: str
    cls: Any
    options: Any

    @classmethod
    def of(cls, part: Part, registry: Registry, prefix: str) -> Choice:
        """What a part of a configuration names; its options are parsed here, once a run.

        Raises:
            ConfigError: an unknown component or option, or a value out of bounds; one line.
        """
        component = registry[part.name]
        options = parse_options(component, part.options, prefix=prefix)
        return cls(registry.canonical(part.name), component, options)

    @property
    def part(self) -> Part:
        """The complete part of a configuration."""
        return Part(name=self.name, **dump_options(self.options))

    def make(self, *context: Any) -> Any:
        """The component."""
        return self.cls(self.options, *context)


@dataclass(frozen=True)
class Combination:
    """What a configuration names.

    Args:
        choices: objective, labels, schedule and eps_schedule by these words.
        added: the regularizers by name, in their order.
    """

    config: RunConfig
    attack: Any
    choices: Mapping[str, Choice]
    added: Mapping[str, Choice]
    schedule: Schedule

    @property
    def objective(self) -> Any:
        """Class of the objective."""
        return self.choices["objective"].cls

    @property
    def labels(self) -> Any:
        """Class of the label mode."""
        return self.choices["labels"].cls

    @property
    def regularizers(self) -> Mapping[str, Any]:
        """Class of each regularizer by its name."""
        return {name: choice.cls for name, choice in self.added.items()}

    @property
    def attacks(self) -> bool:
        """Whether training sees perturbed images: an objective with an attack, eps above 0, and steps or a noise."""
        attack = self.config.attack
        moves = attack.n_steps > 0 or not getattr(self.attack, "adversarial", True)
        return bool(self.objective.needs_attack and attack.eps > 0 and moves)

    def check(self) -> None:
        """Ask every component whether it makes sense in this run.

        Raises:
            ConfigError: the first reason given, in one line that names the component.
        """
        asked = [(key, self.choices[key]) for key in ("objective", "labels")]
        for key, choice in (*asked, *(("regularizers", choice) for choice in self.added.values())):
            refuse = getattr(choice.cls, "refuse", None)
            reason = refuse(choice.options, self) if refuse is not None else None
            if reason:
                raise ConfigError(f"{key} {choice.name!r}: {reason}")
