"""What a probe is, and the one way in which probes are run."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field as OptionField

from overfit_lab import config
from overfit_lab.errors import ProbeError
from overfit_lab.methods.first import TrainedFirst
from overfit_lab.models.isolation import isolated
from overfit_lab.probes.snapshot import Snapshot, View
from overfit_lab.types import Measurement

Better = Literal["higher", "lower", ""]
SplitName = Literal["train", "val", "test"]
InputsName = Literal["clean", "adversarial", "noisy", "black-box"]


@dataclass(frozen=True)
class Field:
    """One kind of number that a probe emits, described in a few words.

    Args:
        name: key in the records; a per-part field is recorded as ``name/part`` (``layer/conv1``).
        unit: "" for a pure number; else e.g. "nats".
        better: which direction is better for the model, "" where neither is.
        per_part: whether it is recorded once per part.
    """

    name: str
    describes: str
    unit: str = ""
    better: Better = ""
    per_part: bool = False


class ProbeOptions(config.Options):
    """Options that every probe has. Empty ``splits`` or ``inputs`` stand for the probe's own choice."""

    n: Annotated[int, OptionField(ge=1)] = 512
    splits: tuple[SplitName, ...] = ()
    inputs: tuple[InputsName, ...] = ()


class LogitsOptions(ProbeOptions):
    """Options of a probe that looks at logits alone, so that a sample costs little."""

    n: int = OptionField(1000, ge=1)


class Probe(ABC):
    """Measures a snapshot and changes nothing.

    Class attributes state what is measured: ``name`` (file, command line and record key alike), ``fields``, the
    ``source`` of the definition, and the splits and inputs taken when none are asked for.
    """

    name: ClassVar[str]
    fields: tuple[Field, ...]
    source: ClassVar[str] = ""
    default_splits: ClassVar[tuple[SplitName, ...]] = ("test",)
    default_inputs: ClassVar[tuple[InputsName, ...]] = ("clean", "adversarial")
    Options: ClassVar[type[ProbeOptions]] = ProbeOptions

    def __init__(self, options: ProbeOptions | None = None) -> None:
        self.options = options if options is not None else self.Options()

    def name_apart(self, suffix: str, *names: str) -> None:
        """Give fields another name (``iiw`` becomes ``iiw-expected-fisher``), since the quantity is another."""
        self.fields = tuple(
            replace(field, name=f"{field.name}-{suffix}") if field.name in names else field for field in self.fields
        )

    @abstractmethod
    def measure(self, snapshot: Snapshot, *, generator: torch.Generator) -> Measurement:
        """The probe's numbers on a snapshot, whose model is in eval mode and isolated.

        ``generator`` is the random stream of this probe at this epoch.

        Raises:
            ProbeError: the snapshot lacks what the probe needs.
        """

    def check(self, snapshot: Snapshot) -> None:
        """Refuse a snapshot that lacks what the probe needs; measures nothing.

        Raises:
            ProbeError: a split is absent or empty, or there is no attack for adversarial inputs, or the like.
        """
        for split, inputs in self.wanted(snapshot):
            snapshot.check_view(split, inputs)

    def prepare(self, snapshot: Snapshot) -> None:  # noqa: B027 (most probes need nothing)
        """Make what the probe needs beside the snapshot and keeps between measurements, such as a prior.

        A run calls it before its first step; otherwise it is called before each measurement. The snapshot was checked.
        """

    def to_train(self, snapshot: Snapshot) -> list[TrainedFirst]:
        """Models that a run has to train for this probe before its first step; the snapshot was checked."""
        return []

    def views(self, snapshot: Snapshot) -> Iterator[View]:
        """The views to measure: every asked-for (or default) split with every asked-for (or default) kind of input.

        A default split that the snapshot lacks is passed over, and without an attack the default is clean inputs;
        what was asked for by name and is lacking is an error.
        """
        for split, inputs in self.wanted(snapshot):
            yield snapshot.view(split, inputs, self.options.n)

    def made_first(self, snapshot: Snapshot) -> list[tuple[str, str, int | None]]:
        """What several processes make together before one of them measures: split, inputs and n of each view."""
        return [(*view, self.options.n) for view in self.wanted(snapshot)]

    def wanted(self, snapshot: Snapshot) -> list[tuple[str, str]]:
        """Split and inputs of each view that the probe looks at.

        Raises:
            ProbeError: there is none.
        """
        own = self.default_inputs if snapshot.attack is not None else ("clean",)
        splits = self.options.splits or [split for split in self.default_splits if snapshot.has_split(split)]
        wanted = [(str(split), str(inputs)) for split in splits for inputs in self.options.inputs or own]
        if not wanted:
            names = ", ".join(self.default_splits)
            raise ProbeError(f"{self.name}: no data to measure; it looks at split {names}, which is empty or absent")
        return wanted


def run_probe(probe: Probe, snapshot: Snapshot) -> tuple[Measurement, float]:
    """Measure in isolation; the measurement and the seconds that it took, without what was prepared for it.

    Raises:
        ProbeError: the snapshot lacks what the probe needs.
        ValueError: the probe emitted a field that it does not declare.
    """
    probe.check(snapshot)
    probe.prepare(snapshot)
    start = time.perf_counter()
    with isolated(snapshot.model):
        measurement = probe.measure(snapshot, generator=snapshot.generator("probe", probe.name))
    stray = sorted({value.field.split("/")[0] for value in measurement.values} - {field.name for field in probe.fields})
    if stray:
        raise ValueError(f"probe {probe.name} emitted undeclared fields: {', '.join(stray)}")
    return measurement, time.perf_counter() - start
