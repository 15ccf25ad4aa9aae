"""What a sink is."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from overfit_lab.errors import missing
from overfit_lab.records.records import Record


@dataclass(frozen=True)
class Beginning:
    """What a sink is told of a run before its records.

    Args:
        name: of the run folder.
        id: letters and digits, the same whenever this run is gone on with, and another for any other run.
        folder: the run folder; None where there is none. A sink that writes files makes a folder of its own name in it.
        config: the complete configuration as nested plain values.
        after: the last epoch whose records this sink was given before, 0 for none. What it holds of later epochs is
            void, since they are given again.
    """

    name: str
    id: str
    folder: Path | None
    config: Mapping[str, Any]
    after: int


class Sink(ABC):
    """Takes what a run records, in order, every record once; see :class:`overfit_lab.records.sinks.mirror.Mirror`.

    What it raises in :meth:`check` is told to the user before the run begins. What it raises later is told in one line,
    and the run goes on without it.
    """

    package: ClassVar[str] = ""
    """What it needs to be installed; the extra of overfit-lab has the same name."""

    def check(self) -> None:
        """Refuse, before anything is written, where this cannot work: a package or an account is missing.

        Raises:
            OverfitLabError: in one line, what to do.
        """
        if self.package and importlib.util.find_spec(self.package) is None:
            raise missing(self.package, self.package)

    @abstractmethod
    def begin(self, run: Beginning) -> None:
        """A run begins, or is gone on with."""

    @abstractmethod
    def records(self, records: Sequence[Record]) -> None:
        """The records of one epoch, one or more, as they stand in the run folder."""

    def end(self, status: str) -> None:  # noqa: B027
        """The run is over: ``completed``, ``interrupted`` or ``failed``. Let go of files and connections."""


class ServiceSink(Sink):
    """A sink of a tracking service.

    Args:
        project: in place of the service's own variable, or of ``overfit-lab`` where that is not set.
        **options: further arguments of the service's ``init``.
    """

    def __init__(self, project: str | None = None, **options: Any) -> None:
        self._project = project
        self._options = options
        self._run: Any = None


def scalar_name(record: Record) -> str:
    """The name of a number in a flat log: ``split/inputs/probe/field``, parts that are empty left out.

    Example:
        >>> scalar_name(Record(1, 10, "calibration", "ece", "test", "adversarial", "given", 0.1, None, 797, None))
        'test/adversarial/calibration/ece'
        >>> scalar_name(Record(1, 10, "training", "lr", "", "", "", 0.1, None, 0, None))
        'training/lr'
    """
    return "/".join(part for part in (record.split, record.inputs, record.probe, record.field) if part)


def scalars(records: Sequence[Record]) -> dict[str, float]:
    """The finite numbers of some records of one epoch by name; of one number measured twice the last.

    Where two differ in the labels alone, the second one's name ends in them: ``train/clean/mine/acc@true``.
    """
    values: dict[str, float] = {}
    labels: dict[str, str] = {}
    for record in records:
        name = scalar_name(record)
        if labels.setdefault(name, record.labels) != record.labels:
            name = f"{name}@{record.labels}"
        if record.value is not None:
            values[name] = record.value
    return values


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """A nested configuration as one level of dotted keys; what is no plain value becomes text.

    Example:
        >>> flat({"attack": {"eps": 0.1}, "regularizers": []})
        {'attack.eps': 0.1, 'regularizers': '[]'}
    """
    plain: dict[str, bool | int | float | str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            plain |= flat(value, f"{prefix}{key}.")
        else:
            plain[prefix + key] = value if isinstance(value, bool | int | float | str) else str(value)
    return plain
