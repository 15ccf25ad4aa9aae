"""From what was measured to records, in a run folder or in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from overfit_lab.records.layout import IMPORTED
from overfit_lab.records.records import TRAINING, Record
from overfit_lab.types import Clock, Measurement, Value

FAILED = "failed"
"""The field of a record that says that its probe could not be measured; every probe may have it."""
EVALUATION_FIELDS = ("acc_clean", "acc_adv", "acc_noisy", "loss_clean", "loss_adv", "loss_noisy")


def to_records(
    probe: str, values: Sequence[Value], clock: Clock, seconds: float | None, *, imported: bool = False
) -> list[Record]:
    """One record a value.

    Args:
        probe: name of the probe.
        values: what it measured.
        clock: when.
        seconds: how long the whole measurement took; stated on each of its records.
        imported: it was measured on weights that were trained elsewhere, which have no epoch.
    """
    return [
        Record(
            epoch=0 if imported else clock.epoch,
            step=0 if imported else clock.step,
            probe=probe,
            field=value.field,
            split=value.split,
            inputs=value.inputs,
            labels=value.labels,
            value=value.value,
            stderr=value.stderr,
            n=value.n,
            seconds=seconds,
            origin=IMPORTED if imported else TRAINING,
            via=value.via,
        )
        for value in values
    ]


class Writer(Protocol):
    """Takes records and arrays: :class:`~overfit_lab.records.writer.RunWriter`, :class:`MemoryWriter`."""

    def append(self, records: Sequence[Record], /) -> None:
        """Take records."""

    def save_arrays(self, probe: str, epoch: int, arrays: dict[str, np.ndarray], /) -> object:
        """Take a probe's arrays of an epoch, by name."""


class MemoryWriter:
    """Keeps records, and the latest arrays of each probe with their epoch, in memory."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.arrays: dict[str, tuple[int, dict[str, np.ndarray]]] = {}

    def append(self, records: Sequence[Record]) -> None:
        """Take records."""
        self.records += records

    def save_arrays(self, probe: str, epoch: int, arrays: dict[str, np.ndarray]) -> None:
        """Take arrays in place of the probe's earlier ones."""
        self.arrays[probe] = (epoch, arrays)


class Recorder:
    """Makes records of what training and its probes measure, and hands them to writers.

    Args:
        writers: get records and arrays, in this order.
        on_records: is given the records after they were written.
    """

    def __init__(self, *writers: Writer, on_records: Callable[[Sequence[Record]], None] | None = None) -> None:
        self.writers = list(writers)
        self.on_records = on_records
        self._probing = 0.0

    def training(self, values: Sequence[Value], clock: Clock) -> None:
        """The numbers of an epoch: accuracies go under ``evaluation``, all others under ``training``."""
        evaluation = [value for value in values if value.field in EVALUATION_FIELDS]
        training = [value for value in values if value.field not in EVALUATION_FIELDS]
        self._write(
            [*to_records("training", training, clock, None), *to_records("evaluation", evaluation, clock, None)]
        )

    def second_weights(self, name: str, values: Sequence[Value], clock: Clock) -> None:
        """The accuracies of second weights, under a name such as ``evaluation@swa``."""
        self._write(to_records(name, values, clock, None))

    def measurement(self, probe: str, measurement: Measurement, clock: Clock, seconds: float) -> None:
        """What a probe measured: arrays first, then the records."""
        started = time.perf_counter()
        if measurement.arrays:
            for writer in self.writers:
                writer.save_arrays(probe, clock.epoch, measurement.arrays)
        self._write(to_records(probe, measurement.values, clock, seconds))
        self._probing += seconds + time.perf_counter() - started

    def failed(self, probe: str, clock: Clock) -> None:
        """A probe could not be measured: ``failed`` is 1 at this moment."""
        self._write(to_records(probe, [Value(FAILED, 1.0)], clock, None))

    def pilot(self, seconds: float) -> None:
        """A pilot of the probes took so long; it is part of probing."""
        self._probing += seconds

    def probing_ended(self, clock: Clock) -> None:
        """The seconds that probes and their records took since the last call, where any ran."""
        if self._probing:
            value = Value("seconds_probing", self._probing)
            self._write(to_records("training", [value], clock, None))
            self._probing = 0.0

    def _write(self, records: Sequence[Record]) -> None:
        for writer in self.writers:
            writer.append(records)
        if self.on_records is not None:
            self.on_records(records)
