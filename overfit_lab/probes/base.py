"""What a probe is, and the one way in which probes are run."""

from __future__ import annotations

import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import torch
from pydantic import Field as OptionField

from overfit_lab import config
from overfit_lab.errors import FailedError, Interrupted, OverfitLabError, ProbeError, in_one_line
from overfit_lab.methods.attacks.base import brief
from overfit_lab.methods.first import TrainedFirst
from overfit_lab.models.fitness import refuse_unfit
from overfit_lab.models.isolation import isolated
from overfit_lab.models.remembered import nothing_remembered
from overfit_lab.probes.snapshot import Snapshot, View
from overfit_lab.records.history import no_history
from overfit_lab.types import Measurement, to_float

T_ = TypeVar("T_")
Better = Literal["higher", "lower", ""]
SplitName = Literal["train", "val", "test"]
InputsName = Literal["clean", "adversarial", "noisy", "black-box"]
N_TRIED = 8
"""Samples of a dry run."""


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
    trial_options: ClassVar[dict[str, Any]] = {}
    """Options with which :func:`dry_run` measures, where they are to be others than those that are asked for."""

    def __init__(self, options: ProbeOptions | None = None) -> None:
        self.options = options if options is not None else self.Options()

    def name_apart(self, suffix: str, *names: str) -> None:
        """Give fields another name (``iiw`` becomes ``iiw-expected-fisher``), since the quantity is another."""
        self.fields = tuple(
            replace(field, name=f"{field.name}-{suffix}") if field.name in names else field for field in self.fields
        )

    def for_trial(self, snapshot: Snapshot) -> Probe:
        """The same probe on a few samples and at little cost, for :func:`dry_run`."""
        changes = {"n": min(self.options.n, N_TRIED), **self.trial_options}
        return type(self)(self.options.model_copy(update=changes))

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
        default_inputs = self.default_inputs if snapshot.attack is not None else ("clean",)
        splits = self.options.splits or [split for split in self.default_splits if snapshot.has_split(split)]
        wanted = [(str(split), str(inputs)) for split in splits for inputs in self.options.inputs or default_inputs]
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


@dataclass(frozen=True)
class Failure:
    """That something raised, and the reason in one line."""

    reason: str


def attempt(function: Callable[[], T_], *, tolerant: bool = True) -> T_ | Failure:
    """What a function returns, or that it failed; an interruption and the loss of a process are no failures.

    Without ``tolerant`` nothing is held back.
    """
    try:
        return function()
    except (FailedError, Interrupted):
        raise
    except Exception as error:
        if not tolerant:
            raise
        return Failure(in_one_line(error))


def dry_run(probe: Probe, snapshot: Snapshot) -> None:
    """Refuse a probe that cannot be measured on a model, by measuring it on a few samples; nothing is kept of it.

    The probe is a cheaper copy of itself (:meth:`Probe.for_trial`), attacks take a step or two, and theta_0 is moved a
    little, since of weights that have not moved some derivatives are never taken.

    Raises:
        ProbeError: it raised, whatever it was; one line says what.
        OverfitLabError: what the probe itself says is amiss.

    Cost: the probe on some 8 samples.
    """
    probe.check(snapshot)
    tried = trial_of(snapshot)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            refuse_unfit(tried.model, to_float(next(iter(tried.data.splits.values())).x[:1]))
            with nothing_remembered(snapshot.model):
                run_probe(probe.for_trial(tried), tried)
        except Exception as error:
            raise refusal(probe.name, error, f"leave {probe.name} out of probes") from error


def refusal(name: str, error: Exception, remedy: str) -> Exception:
    """The error that says in one line what cannot be measured; that of the error itself where it says so."""
    if isinstance(error, (FailedError, Interrupted)) or (isinstance(error, OverfitLabError) and _names(error, name)):
        return error
    said = f"{name}: cannot be measured on this model: {in_one_line(error)}"
    return ProbeError(f"{said}; {remedy}" if remedy else said)


def trial_of(snapshot: Snapshot) -> Snapshot:
    """A copy of a snapshot for a dry run: no history, small chunks, attacks that take a step or two."""
    reference = snapshot.reference
    if reference is not None:
        trained = {name for name, p in snapshot.model.named_parameters() if p.requires_grad}
        reference = {name: t.detach() - 0.01 if name in trained else t for name, t in reference.items()}
    return Snapshot.like(
        snapshot,
        chunk=N_TRIED,
        history=no_history() if snapshot.history is not None else None,
        attack=brief(snapshot.attack),
        black_box=brief(snapshot.black_box),
        reference=reference,
    )


def _names(error: OverfitLabError, name: str) -> bool:
    """Whether an error of ours already says what it is about."""
    return not isinstance(error, ProbeError) or str(error).startswith(f"{name}:")
