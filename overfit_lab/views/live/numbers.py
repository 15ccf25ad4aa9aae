"""The numbers of a run that is being followed, kept small: a run may have tens of thousands, and many are followed."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from math import nan

import numpy as np

from overfit_lab.records.records import TRAINING, Record, standing


@dataclass(frozen=True)
class Series:
    """One number over epochs: epochs (m,), increasing, values (m,), standard errors (m,), NaN where there is none."""

    epochs: np.ndarray
    values: np.ndarray
    stderr: np.ndarray

    def __len__(self) -> int:
        return len(self.epochs)

    @property
    def last(self) -> float | None:
        """The value at the last epoch."""
        return float(self.values[-1]) if len(self) else None


class Column:
    """The records of one number, in the order in which they were written: 33 bytes each, where a record takes 600."""

    __slots__ = ("epochs", "n", "posthoc", "stderr", "values")

    def __init__(self) -> None:
        self.epochs, self.n, self.posthoc = array("q"), array("q"), array("b")
        self.values, self.stderr = array("d"), array("d")

    def add(self, record: Record) -> None:
        """Take in a record; one whose value was not finite is none, see :func:`standing`."""
        if record.value is None:
            return
        self.epochs.append(record.epoch)
        self.n.append(record.n or 0)
        self.posthoc.append(record.origin != TRAINING)
        self.values.append(record.value)
        self.stderr.append(nan if record.stderr is None else record.stderr)

    def series(self) -> Series:
        """Those that stand, in order of their epochs. Cost: a sort."""
        epochs, values, stderr = np.array(self.epochs), np.array(self.values), np.array(self.stderr)
        stand = standing(epochs, np.array(self.n), np.array(self.posthoc))
        return Series(epochs[stand], values[stand], stderr[stand])


class Numbers:
    """Records by probe, field, split and inputs."""

    def __init__(self) -> None:
        self._columns: dict[tuple[str, str, str, str], Column] = {}
        self.epoch = 0
        """The last epoch that a number is of."""
        self.trained = 0
        """The same of the numbers that were measured while training."""

    def add(self, records: Iterable[Record]) -> None:
        """Take in records. Cost: one look-up each."""
        for record in records:
            key = (record.probe, record.field, record.split, record.inputs)
            column = self._columns.get(key)
            if column is None:
                column = self._columns[key] = Column()
            column.add(record)
            self.epoch = max(self.epoch, record.epoch)
            if record.origin == TRAINING:
                self.trained = max(self.trained, record.epoch)

    def series(self, probe: str, name: str, split: str = "", inputs: str = "") -> Series:
        """One number over epochs; empty where it was never recorded. Cost: a sort of its records."""
        return self._columns.get((probe, name, split, inputs), Column()).series()
