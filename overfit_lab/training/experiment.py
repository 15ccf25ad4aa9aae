"""Runs as a whole: train into a run folder, resume it, and probe what it left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from overfit_lab.config import ProbesConfig, RunConfig, load_config, to_dict, to_yaml
from overfit_lab.config.trust import check_trusted
from overfit_lab.errors import ConfigError, LostProcessError, OverfitLabError, ProbeError, RunFolderError
from overfit_lab.methods.regularizers.base import Regularizer
from overfit_lab.models.factory import build_model
from overfit_lab.models.weights import load_into, load_weights
from overfit_lab.probes.base import Probe, run_probe
from overfit_lab.probes.snapshot import RAW, Snapshot
from overfit_lab.processes.world import ALONE, World
from overfit_lab.records import identity, layout
from overfit_lab.records.history import FolderHistory, no_history
from overfit_lab.records.reader import Run, read_records
from overfit_lab.records.recorder import Recorder, to_records
from overfit_lab.records.records import Record
from overfit_lab.records.sinks.base import Sink
from overfit_lab.records.sinks.mirror import Mirror, make_sinks, open_mirror
from overfit_lab.records.status import end, end_at_error, mark_ended, status_of
from overfit_lab.records.writer import RunWriter
from overfit_lab.seeds import derive_seed, private_streams
from overfit_lab.training.budget import LiveBudget, OnBudget, Spending, chosen_before, parse_budget, training_seconds
from overfit_lab.training.build import build, compile_training, complete, make_probe, make_probes, resolve_device
from overfit_lab.training.checkpoint import Checkpoint, load_checkpoint, restore
from overfit_lab.training.events import EpochEnded, EventBus, StepEnded
from overfit_lab.training.keeper import Best, CheckpointKeeper
from overfit_lab.training.live import LiveProbes
from overfit_lab.training.loop import Session, train
from overfit_lab.training.subjects import (
    OnNote,
    at_checkpoints,
    checkpoint_files,
    describe,
    foreign_snapshot,
    open_run,
    open_weights,
    take_initial,
)
from overfit_lab.types import Clock, Measurement

OnRecord = Callable[[Record], None]


def train_run(
    config: RunConfig | None,
    folder: Path,
    *,
    resume: bool = False,
    device: str = "auto",
    bus: EventBus | None = None,
    trust: bool = False,
    teacher_bus: Callable[[str], EventBus] | None = None,
    prior_bus: Callable[[str], EventBus] | None = None,
    sinks: Sequence[str | Sink] = (),
    on_note: OnNote | None = None,
    world: World = ALONE,
) -> str:
    """Train into a run folder.

    A run that is killed at any moment and resumed writes the records and weights of an uninterrupted one (to the bit
    on the CPU with the same number of threads). Several processes that share a run all call this with their world;
    the first one writes. They may be more or fewer when the run is resumed.

    Args:
        config: what to train; None with ``resume`` takes the folder's own.
        folder: the run folder to make; with ``resume`` the one to go on with.
        resume: go on from the last checkpoint.
        device: ``auto``, ``cpu`` or ``cuda``.
        bus: events go here; subscribe before.
        trust: import the code that a teacher's configuration names, and with ``config=None`` that of the folder's own.
        teacher_bus: gives the bus for the events of a teacher that is trained first, by its name.
        prior_bus: the same for a prior that is trained first.
        sinks: get every record too, such as ``["tensorboard"]``; nothing of the run depends on them, and one that fails
            does not stop it. Teachers and priors that are trained first are not mirrored.
        on_note: told in a line of a sink that failed; default: a line on stderr.
        world: the processes that share the run; see :mod:`overfit_lab.processes`.

    Returns:
        ``"completed"`` or ``"interrupted"`` (by KeyboardInterrupt; the run can be resumed).

    Raises:
        ConfigError: something in the configuration does not exist or does not fit; an unknown sink.
        MissingPackageError: a sink's package is not installed.
        DataUnavailableError: the data set is not here.
        RunFolderError: the folder is occupied, or with ``resume`` is no run or another run.
        LostProcessError: another process of the run is gone or does not answer.
    """
    where = resolve_device(device)
    bus = bus if bus is not None else EventBus()
    mirrors = make_sinks(sinks if world.is_first else ())
    if resume:
        config = _resumed_config(config, folder, trust)
    if config is None:
        raise ConfigError("a new run needs a configuration")
    if not resume:
        world.at(0, lambda: check_place(folder))
    seed = derive_seed(config.seed, "global", *([world.rank] if world.rank else []))
    with private_streams(seed):
        session = world.in_turn(lambda: build(config, where, trust=trust, world=world))
        session.priors.bus, session.priors.save = prior_bus, world.is_first
        if resume:
            session.priors.folder = folder
            if layout.resumable_path(folder) is not None:  # else it begins anew, with weights drawn now
                take_initial(session, folder)
        check_probes(session)
        if session.teachers is not None:
            session.teachers.check()
        compile_training(session)
        with _opened(folder, session, resume=resume) as writer:
            if train_first(session, folder, teacher_bus) == "completed":
                if writer is None:
                    return _train_beside(session, folder, bus, resume=resume)
                mirror = open_mirror(mirrors, folder, to_dict(session.config), on_note)
                return _train_with_records(session, writer, bus, mirror, resume=resume)
            if writer is not None:
                end(writer, "interrupted")
    return "interrupted"


def check_place(folder: Path) -> None:
    """Refuse, before anything is done, a folder that a new run cannot be made in.

    Raises:
        RunFolderError: it is occupied, or cannot be written to.
    """
    layout.check_vacant(folder)
    layout.check_writable(folder.parent)


@contextmanager
def _opened(folder: Path, session: Session, *, resume: bool) -> Iterator[RunWriter | None]:
    """The run's writer in the first process; None in the others, which find the folder made."""
    opened: list[RunWriter] = []
    session.world.at(0, lambda: opened.append(_open_writer(folder, session, resume=resume)))
    if not opened:
        try:
            yield None
        except LostProcessError:
            mark_ended(folder, "failed")
            raise
        return
    with opened[0] as writer, end_at_error(writer):
        yield writer


def train_first(session: Session, folder: Path, teacher_bus: Callable[[str], EventBus] | None = None) -> str:
    """Train what has to be there before the first step: teachers, and what probes need, such as a held-out prior.

    Args:
        session: the run.
        folder: its folder.
        teacher_bus: see :func:`train_run`.

    Returns:
        ``"completed"`` or ``"interrupted"``.
    """
    session.priors.folder = folder
    if train_teachers(session, folder, teacher_bus) == "interrupted":
        return "interrupted"
    try:
        for probe in make_probes(session.config.probes):
            probe.prepare(session.snapshot())
    except KeyboardInterrupt:
        return "interrupted"
    return "completed"


def train_teachers(session: Session, folder: Path, teacher_bus: Callable[[str], EventBus] | None = None) -> str:
    """Train the teachers that the run wants trained first, those that are not there, into the run's folder.

    Args:
        session: the run.
        folder: its folder.
        teacher_bus: see :func:`train_run`.

    Returns:
        ``"completed"`` or ``"interrupted"``.
    """
    teachers = session.teachers
    if teachers is None:
        return "completed"
    teachers.folder = folder
    for name, config in teachers.to_train().items():
        path = teachers.path(name)
        before = session.world.at(0, partial(status_of, path))
        if before == "completed":
            continue
        bus = teacher_bus(name) if teacher_bus is not None else None
        resume = before is not None
        status = train_run(config, path, resume=resume, device=session.device.type, bus=bus, world=session.world)
        if status != "completed":
            return status
    return "completed"


def check_probes(session: Session) -> None:
    """Refuse, before anything is written, probes that this run cannot feed.

    Raises:
        ProbeError: the run lacks a split, an attack or a layer that a probe needs.
    """
    snapshot = session.snapshot()
    snapshot.history = no_history()
    for probe in make_probes(session.config.probes):
        probe.check(snapshot)


def _resumed_config(config: RunConfig | None, folder: Path, trust: bool) -> RunConfig:
    own = load_config(layout.config_path(layout.check_run(folder)))
    check_trusted(own, str(folder), trust=trust)  # also where it is only compared: completing it imports what it names
    if config is not None and identity.run(complete(config)) != identity.run(complete(own)):
        raise RunFolderError(f"{folder}: holds a run of another configuration; give another --out, or none to resume")
    return own if config is None else config  # where the data lie now may be said anew


def _open_writer(folder: Path, session: Session, *, resume: bool) -> RunWriter:
    if resume:
        return RunWriter.reopen(folder)
    return RunWriter.create(folder, to_yaml(session.config), describe(session))


def _train_with_records(
    session: Session, writer: RunWriter, bus: EventBus, mirror: Mirror | None, *, resume: bool
) -> str:
    best, before = _restore_last(session, writer) if resume else (None, 0.0)
    session.history = lambda clock: FolderHistory(writer.folder, clock.epoch)
    recorder = Recorder(writer, mirror.take if mirror is not None else None)
    started = time.perf_counter()

    def wall() -> float:
        return before + time.perf_counter() - started

    def notes() -> dict[str, Any]:
        return {"records": writer.position, "wall_seconds": wall()}

    keeper = CheckpointKeeper(session, layout.checkpoints(writer.folder), notes, best)
    _subscribe(bus, session, recorder, keeper)
    session.world.given(None)  # the others have read the checkpoint that this one goes on from
    if mirror is not None:
        bus.on(EpochEnded, lambda event: mirror.epoch_ended(event.snapshot.clock.epoch))
    if session.clock.step == 0:
        keeper.save_initial()
    writer.update_info(status="running", processes=session.world.size)
    status = "failed"
    try:
        if mirror is not None:
            mirror.begin(read_records(layout.records_path(writer.folder)), session.clock.epoch)
        train(session, bus, resumed=resume)
        status = "completed"
    except KeyboardInterrupt:
        status = "interrupted"
    finally:
        chosen = asdict(keeper.best) if keeper.best else None
        end(writer, status, epoch=session.clock.epoch, best=chosen, wall_seconds=round(wall(), 3))
        if mirror is not None:
            mirror.end(status)
    return status


def _train_beside(session: Session, folder: Path, bus: EventBus, *, resume: bool) -> str:
    """Train in a process that is not the first: nothing is written."""
    if resume:
        _restore(session, folder)
    session.history = lambda clock: FolderHistory(folder, clock.epoch)
    settings = session.config.probes
    prepare = _never if settings.budget is not None else None
    LiveProbes(make_probes(settings), settings.every, _forget, prepare, session.world).subscribe(bus)
    session.world.given(None)
    try:
        train(session, bus, resumed=resume)
    except KeyboardInterrupt:
        return "interrupted"
    return "completed"


def _never(event: EpochEnded) -> tuple[Sequence[Probe], int]:
    raise AssertionError("the first process chooses the sizes of probes")


def _forget(name: str, measurement: Measurement, clock: Clock, seconds: float) -> None:
    """What the first process writes down."""


def _subscribe(bus: EventBus, session: Session, recorder: Recorder, keeper: CheckpointKeeper) -> None:
    """Records first, then probes, then the checkpoint that counts both as written."""
    probes = make_probes(session.config.probes)
    bus.on(EpochEnded, lambda event: recorder.training(event.values, event.snapshot.clock))
    bus.on(EpochEnded, lambda event: record_second_weights(event, recorder))
    budget = _live_budget(session, recorder)
    LiveProbes(probes, session.config.probes.every, recorder.measurement, budget, session.world).subscribe(bus)
    bus.on(EpochEnded, lambda event: recorder.probing_ended(event.snapshot.clock))
    bus.on(EpochEnded, keeper.on_epoch)
    if session.config.checkpoint.steps:
        bus.on(StepEnded, keeper.on_step)


def _live_budget(session: Session, recorder: Recorder) -> LiveBudget | None:
    """What chooses the probes' sizes, where the run has a budget."""
    settings = session.config.probes
    if settings.budget is None:
        return None
    keepers = [r for r in session.regularizers.values() if type(r).second_weights is not Regularizer.second_weights]
    return LiveBudget(settings, recorder, n_epochs=session.config.epochs, n_weights=1 + len(keepers))


def record_second_weights(event: EpochEnded, recorder: Recorder) -> None:
    """The accuracies of every regularizer's weights, as ``evaluation@NAME``."""
    for second in event.seconds:
        recorder.second_weights(second.snapshot.name_of("evaluation"), second.values, second.snapshot.clock)


def _restore_last(session: Session, writer: RunWriter) -> tuple[Best | None, float]:
    """Put the last checkpoint into the session and cut the records back to it; from the start where there is none."""
    checkpoint = _restore(session, writer.folder)
    if checkpoint is None:
        writer.truncate(0)
        writer.drop_arrays_after(0)
        return None, 0.0
    writer.truncate(int(checkpoint.notes["records"]))
    writer.drop_arrays_after(checkpoint.clock.epoch)
    best = checkpoint.notes.get("best")
    return (Best(**best) if best else None), float(checkpoint.notes["wall_seconds"])


def _restore(session: Session, folder: Path) -> Checkpoint | None:
    """Put the checkpoint that a run goes on from into the session, and return it; None where there is none."""
    path = layout.resumable_path(folder)
    if path is None:
        return None
    checkpoint = load_checkpoint(path)
    restore(session, checkpoint)
    return checkpoint


def probe_run(
    folder: Path,
    metrics: Sequence[str],
    *,
    checkpoint: str = "final",
    splits: Sequence[str] = (),
    inputs: Sequence[str] = (),
    n: int | None = None,
    options: dict[str, dict[str, Any]] | None = None,
    weights: str = RAW,
    device: str = "auto",
    save: bool = True,
    on_record: OnRecord | None = None,
    trust: bool = False,
    on_note: OnNote | None = None,
    prior_bus: Callable[[str], EventBus] | None = None,
    budget: str | None = None,
    on_budget: OnBudget | None = None,
) -> list[Record]:
    """Measure checkpoints of a run with the same numbers as a live probe of the same settings would give.

    Settings that are not given are the run's own.

    Args:
        folder: the run folder.
        metrics: names of probes.
        checkpoint: ``best``, ``final``, ``initial``, ``all`` or an epoch; several separated by commas.
        splits: splits to look at.
        inputs: ``clean``, ``adversarial`` or both.
        n: size of the probe subset.
        options: a probe's own options by its name.
        weights: ``raw``, or the name of a regularizer that keeps second weights, such as ``swa``.
        device: ``auto``, ``cpu`` or ``cuda``.
        save: also write the records and arrays to the run folder.
        on_record: called with each record as it is measured.
        trust: import the code that the folder's configuration names.
        on_note: told in a line how a prior's weights file was read where that is not plain.
        prior_bus: gives the bus for the events of a prior that has to be trained, by its name.
        budget: most time for all checkpoints together, a share of the run's training (``5%``) or a time (``30s``);
            the probes get as many samples as fit, and no more than ``n`` where it is given.
        on_budget: called with what was chosen and what it took.

    Raises:
        RunFolderError: no run, or no such checkpoint.
        ConfigError: an unknown metric, option or set of weights, or a budget that the fewest samples do not fit in.
        ProbeError: the run lacks what a probe needs.
    """
    allowed = parse_budget(budget) if budget is not None else None
    own = load_config(layout.config_path(layout.check_run(folder)))
    check_trusted(own, str(folder), trust=trust)
    before = own.probes if allowed is not None or n is not None else chosen_before(own.probes, Run.open(folder).info)
    settings = _merge(before, metrics, splits, inputs, n, options)
    probes = [make_probe(name, settings) for name in metrics]
    n_measurements = len(checkpoint_files(folder, checkpoint))
    training = training_seconds(folder) if allowed is not None else None
    session = open_run(folder, device=device, trust=trust, probes=settings)
    session.priors.save, session.priors.bus, session.priors.on_note = save, prior_bus, on_note
    spending = Spending(allowed, training, settings, probes, n_measurements, on_budget)
    records = []
    for snapshot in at_checkpoints(session, folder, checkpoint, weights):
        with spending.measuring(snapshot) as chosen:
            records += _measure(chosen, snapshot, folder if save else None, on_record)
    spending.tell(folder if save else None)
    return records


def _merge(
    own: ProbesConfig,
    metrics: Sequence[str],
    splits: Sequence[str],
    inputs: Sequence[str],
    n: int | None,
    options: dict[str, dict[str, Any]] | None,
) -> ProbesConfig:
    content = own.model_dump()
    content["metrics"] = tuple(metrics)
    if splits:
        content["splits"] = tuple(splits)
    if inputs:
        content["inputs"] = tuple(inputs)
    if n is not None:
        content["n"] = n
    for name, values in (options or {}).items():
        content["options"] = {**content["options"], name: {**content["options"].get(name, {}), **values}}
    return ProbesConfig.model_validate(content)


def _measure(
    probes: Sequence[Probe], snapshot: Snapshot, folder: Path | None, on_record: OnRecord | None
) -> list[Record]:
    records = []
    for probe in probes:
        measurement, seconds = run_probe(probe, snapshot)
        name = snapshot.name_of(probe.name)
        new = to_records(name, measurement.values, snapshot.clock, seconds)
        if folder is not None:
            with RunWriter.reopen(folder) as writer:
                if measurement.arrays:
                    writer.save_arrays(name, snapshot.clock.epoch, measurement.arrays, keep_others=True)
                writer.append_posthoc(new)
        if on_record is not None:
            for record in new:
                on_record(record)
        records += new
    return records


def probe_weights(
    path: Path,
    metrics: Sequence[str],
    *,
    config: RunConfig,
    splits: Sequence[str] = (),
    inputs: Sequence[str] = (),
    n: int | None = None,
    options: dict[str, dict[str, Any]] | None = None,
    device: str = "auto",
    reference: Path | None = None,
    on_record: OnRecord | None = None,
    on_note: OnNote | None = None,
    budget: str | None = None,
    on_budget: OnBudget | None = None,
) -> list[Record]:
    """Measure a weights file that no run of ours wrote.

    Of several metrics, those that cannot be measured on a mere weights file are passed over with a note.

    Args:
        path: .safetensors, .pt, .pth, .ckpt, .th, .tar, .bin or .pkl; loaded as weights only.
        metrics: names of probes.
        config: model, data, attack and seed to measure with; its training settings play no part.
        splits: splits to look at.
        inputs: ``clean``, ``adversarial`` or both.
        n: size of the probe subset.
        options: a probe's own options by its name.
        device: ``auto``, ``cpu`` or ``cuda``.
        reference: weights file of theta_0, for probes that compare with it.
        on_record: called with each record as it is measured.
        on_note: called with one line on how the file was read, and one for each metric that is passed over.
        budget: most time, such as ``30s``; see :func:`probe_run`.
        on_budget: called with what was chosen and what it took.

    Raises:
        WeightsError: the file is unsafe, unreadable or does not fit the model.
        ConfigError: an unknown name or option.
        ProbeError: the one probe, or each of them, needs what is not there.
    """
    allowed = parse_budget(budget) if budget is not None else None
    settings = _merge(config.probes, metrics, splits, inputs, n, options)
    probes = [make_probe(name, settings) for name in metrics]
    spending = Spending(allowed, None, settings, probes, 1, on_budget)
    session = open_weights(path, config.model_copy(update={"probes": settings}), device=device, on_note=on_note)
    snapshot = foreign_snapshot(session)
    snapshot.reference = _reference_of(session, reference) if reference is not None else None
    snapshot.priors.on_note = on_note
    spending.probes = _able(probes, snapshot, on_note)
    with spending.measuring(snapshot) as chosen:
        records = _measure(chosen, snapshot, None, on_record)
    spending.tell(None)
    return records


def _able(probes: Sequence[Probe], snapshot: Snapshot, on_note: OnNote | None) -> list[Probe]:
    """The probes that the snapshot can feed, and a note about each other one.

    Raises:
        ProbeError: it can feed none; the first one's reason.
    """
    reasons: dict[str, OverfitLabError] = {}
    for probe in probes:
        try:
            probe.check(snapshot)
        except (ProbeError, ConfigError) as error:
            reasons[probe.name] = error
    if len(reasons) == len(probes):
        raise next(iter(reasons.values()))
    for reason in reasons.values():
        if on_note is not None:
            on_note(f"passed over: {reason}")
    return [probe for probe in probes if probe.name not in reasons]


def _reference_of(session: Session, path: Path) -> dict[str, torch.Tensor]:
    other = build_model(session.config.model, session.data, session.device, seed=session.config.seed)
    load_into(other, load_weights(path))
    return {name: p.detach().clone() for name, p in other.named_parameters()}
