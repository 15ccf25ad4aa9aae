"""Train into a run folder, and resume what was stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from overfit_lab.config import RunConfig, to_dict, to_yaml
from overfit_lab.config.trust import check_trusted
from overfit_lab.errors import ConfigError, FailedError, LostProcessError, RunFolderError
from overfit_lab.files.terminal import to_stderr
from overfit_lab.methods.first import TrainedFirst
from overfit_lab.methods.regularizers.base import Regularizer
from overfit_lab.probes.base import Probe, dry_run
from overfit_lab.processes.world import ALONE, World
from overfit_lab.records import identity, layout
from overfit_lab.records.best import Best
from overfit_lab.records.changes import change_settings
from overfit_lab.records.computed import as_computed, config_of
from overfit_lab.records.failures import Failures
from overfit_lab.records.history import FolderHistory, no_history
from overfit_lab.records.reader import read_records
from overfit_lab.records.recorder import Recorder
from overfit_lab.records.records import TRAINING
from overfit_lab.records.sinks.base import Sink
from overfit_lab.records.sinks.mirror import Mirror, make_sinks, open_mirror
from overfit_lab.records.status import (
    DIVERGED,
    begin,
    divergence_in_words,
    end,
    end_at_error,
    mark_ended,
    status_of,
)
from overfit_lab.records.writer import POSITION, RunWriter
from overfit_lab.seeds import derive_seed, private_streams
from overfit_lab.training.budget import LiveBudget
from overfit_lab.training.build import build
from overfit_lab.training.capture import capture_training
from overfit_lab.training.checkpoint import Checkpoint, load_checkpoint, restore
from overfit_lab.training.complete import check_trainable, combine, complete
from overfit_lab.training.compute import compile_training, computing_on, resolve_device, settle_compute
from overfit_lab.training.doubts import Doubts
from overfit_lab.training.dynamics_records import begin_dynamics, check_dynamics, record_dynamics
from overfit_lab.training.events import EpochEnded, EventBus, StepEnded
from overfit_lab.training.extension import why_not_longer
from overfit_lab.training.keeper import CheckpointKeeper
from overfit_lab.training.live import LiveProbes
from overfit_lab.training.loop import train
from overfit_lab.training.parts import make_probes
from overfit_lab.training.resumption import resumable_of
from overfit_lab.training.session import Session
from overfit_lab.training.subjects import OnNote, describe, save_samples, take_initial


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
        device: ``auto``, ``cpu`` or ``cuda``.
        trust: import the code that a teacher's configuration names, and with ``config=None`` that of the folder's own.
        teacher_bus: gives the bus for the events of a teacher that is trained first, by its name.
        prior_bus: the same for a prior that is trained first.
        sinks: get every record too, such as ``["tensorboard"]``; nothing of the run depends on them, and one that fails
            does not stop it. Teachers and priors that are trained first are not mirrored.
        on_note: told in a line of a sink or a probe that failed, and of how a resumed run goes on computing where this
            machine would do otherwise; default: a line on stderr.
        world: the processes that share the run; see :mod:`overfit_lab.processes`.

    Returns:
        ``"completed"``, ``"diverged"`` (its loss or weights were not finite), or ``"interrupted"`` (by
        KeyboardInterrupt; the run can be resumed).

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
        config = resumed_config(config, folder, trust)
    if config is None:
        raise ConfigError("a new run needs a configuration")
    if not resume:
        complete(config)
        world.run_on_rank(0, lambda: check_place(folder))
    seed = derive_seed(config.seed, "global", *([world.rank] if world.rank else []))
    with private_streams(seed):
        session = world.run_rank_0_first(lambda: build(config, where, trust=trust, world=world))
        session.priors.bus, session.priors.save = prior_bus, world.is_first
        if resume:
            session.priors.folder = folder
            if layout.resumable_path(folder) is not None:  # else it begins anew, with weights drawn now
                take_initial(session, folder)
        check_probes(session)
        if session.teachers is not None:
            session.teachers.check()
        for note in settle_compute(session, folder, resume=resume):
            (on_note or to_stderr)(note)
        with computing_on(session.compute["threads"]):
            compile_training(session)
            capture_training(session)
            with _opened(folder, session, resume=resume) as (writer, checkpoint):
                if train_first(session, folder, teacher_bus) == "completed":
                    if writer is None:
                        return _train_beside(session, folder, bus, resume=resume)
                    mirror = open_mirror(mirrors, folder, to_dict(session.config), on_note)
                    return _train_with_records(session, writer, checkpoint, bus, mirror, on_note, resume=resume)
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
def _opened(folder: Path, session: Session, *, resume: bool) -> Iterator[tuple[RunWriter | None, Checkpoint | None]]:
    """In the first process the run's writer, and the checkpoint that it goes on from; the others find the folder made.

    What does not fit is refused before anything is written.
    """
    opened: list[tuple[RunWriter, Checkpoint | None]] = []
    open_writer = _reopen_writer if resume else _make_writer
    session.world.run_on_rank(0, lambda: opened.append(open_writer(folder, session)))
    if not opened:
        try:
            yield None, None
        except LostProcessError:
            mark_ended(folder, "failed")
            raise
        return
    with opened[0][0] as writer, end_at_error(writer):
        yield opened[0]


def needed_first(session: Session) -> list[TrainedFirst]:
    """What has to be trained before the run's first step: its teachers, then what its probes need."""
    teachers = session.teachers.to_train() if session.teachers is not None else []
    snapshot = session.snapshot()
    probes = make_probes(session.config.probes)
    return [*teachers, *(first for probe in probes for first in probe.to_train(snapshot))]


def train_first(session: Session, folder: Path, teacher_bus: Callable[[str], EventBus] | None = None) -> str:
    """Train what has to be there before the first step, where it is not there yet, and have probes prepare.

    Runs of their own are shared out among the processes of the run; models in memory are trained by each of them.

    Args:
        teacher_bus: see :func:`train_run`.

    Returns:
        ``"completed"`` or ``"interrupted"``.
    """
    session.priors.folder = folder
    if session.teachers is not None:
        session.teachers.folder = folder
    try:
        for first in needed_first(session):
            if first.view is not None:
                session.priors.train_first(first)
            elif _train_teacher(session, first, teacher_bus) != "completed":
                return "interrupted"
        for probe in make_probes(session.config.probes):
            probe.prepare(session.snapshot())
    except KeyboardInterrupt:
        return "interrupted"
    return "completed"


def _train_teacher(session: Session, first: TrainedFirst, teacher_bus: Callable[[str], EventBus] | None) -> str:
    """Train a teacher into its folder, or go on with it; how its run stands then."""
    assert session.teachers is not None
    path = session.teachers.path(first.name)
    before = session.world.run_on_rank(0, partial(status_of, path))
    if before == "completed":
        return "completed"
    bus = teacher_bus(first.name) if teacher_bus is not None else None
    if before == DIVERGED:
        raise FailedError(f"teacher {first.name}: {divergence_in_words(path)}")
    resume = before is not None
    status = train_run(first.config, path, resume=resume, device=session.device.type, bus=bus, world=session.world)
    if status == DIVERGED:
        raise FailedError(f"teacher {first.name}: {divergence_in_words(path)}")
    return status


def check_probes(session: Session) -> None:
    """Refuse, before anything is written, probes that this run cannot feed or that its model cannot be measured by.

    Raises:
        ProbeError: the run lacks a split, an attack or a layer that a probe needs, or a dry run of it fails.

    Cost: each probe on some 8 samples.
    """
    snapshot = replace(session.snapshot(), history=no_history())
    probes = make_probes(session.config.probes)
    for probe in probes:
        probe.check(snapshot)

    def try_them() -> None:
        for probe in probes:
            dry_run(probe, snapshot)

    session.world.run_on_rank(0, try_them)


def resumed_config(config: RunConfig | None, folder: Path, trust: bool) -> RunConfig:
    """The configuration that a run is gone on with: the folder's own, or one that differs in probes or a later end.

    Where the data lie, what the run is called, and on how many threads it is trained may be said anew too.

    Raises:
        RunFolderError: no run, or one of another configuration, or one whose past depends on its length.
        ConfigError: another loop's run.
    """
    recorded = config_of(folder)
    check_trainable(recorded)
    if status_of(folder) == DIVERGED and (config or recorded).when_diverged == "stop":
        raise RunFolderError(
            f"{folder}: {divergence_in_words(folder)}; resumed, it would diverge again: train anew with another "
            "optimizer.lr, or add --set when_diverged=continue to train to the end all the same"
        )
    if config is not None:
        config = as_computed(config, layout.read_info(folder))
        recorded = recorded.model_copy(update={"probes": config.probes})
    # Also where it is only compared: completing it imports what it names.
    check_trusted(recorded, str(folder), trust=trust)
    if config is None:
        return recorded
    before, now = combine(recorded), combine(config)
    longer = config.epochs > recorded.epochs
    difference = identity.changed(before.config, now.config, ["epochs"] if longer else [])
    if longer and not difference:
        reason = why_not_longer(before, now, folder)
        difference = reason and f"{identity.changed(before.config, now.config)}: {reason}"
    if difference:
        raise RunFolderError(
            f"{folder}: holds a run of another configuration ({difference}); give another --out, or none to resume"
        )
    return config


def _make_writer(folder: Path, session: Session) -> tuple[RunWriter, None]:
    writer = RunWriter.create(folder, to_yaml(session.config), describe(session))
    with _let_go_at_error(writer):
        save_samples(folder, session.data)
    return writer, None


@contextmanager
def _let_go_at_error(writer: RunWriter) -> Iterator[None]:
    """Close a writer that nobody will get."""
    try:
        yield
    except BaseException:
        writer.close()
        raise


def _reopen_writer(folder: Path, session: Session) -> tuple[RunWriter, Checkpoint | None]:
    """The writer of a run that is gone on with and the checkpoint that it begins at, seen to belong together.

    Raises:
        RunFolderError: the checkpoint is damaged or missing, or the records are not those that it counts.
    """
    writer = RunWriter.reopen(folder)
    with _let_go_at_error(writer):
        checkpoint = resumable_of(writer)
        check_dynamics(folder, checkpoint)
        epoch = checkpoint.clock.epoch if checkpoint is not None else 0
        if epoch < session.config.epochs:
            change_settings(writer, session.config, epoch)
        if not layout.samples_path(folder).is_file():  # of a run that was killed before it wrote them
            save_samples(folder, session.data)
    return writer, checkpoint


def _train_with_records(
    session: Session,
    writer: RunWriter,
    checkpoint: Checkpoint | None,
    bus: EventBus,
    mirror: Mirror | None,
    on_note: OnNote | None,
    *,
    resume: bool,
) -> str:
    begin_dynamics(session)
    best, before = _go_on_from(checkpoint, session, writer) if resume else (None, 0.0)
    session.history = lambda clock: FolderHistory(writer.folder, clock.epoch)
    recorder = Recorder(writer, on_records=mirror.take if mirror is not None else None)
    failures = Failures(recorder, writer, on_note)
    failures.forget_after(session.clock.epoch)
    started = time.perf_counter()

    def wall() -> float:
        return before + time.perf_counter() - started

    def notes() -> dict[str, Any]:
        return {**writer.notes, "wall_seconds": wall()}

    keeper = CheckpointKeeper(session, layout.checkpoints(writer.folder), notes, best)
    _subscribe(bus, session, recorder, keeper, failures, _live_budget(session, writer, recorder))
    schedules = {"the learning rate": session.schedule, "eps": session.eps_schedule}
    milestones = {what: schedule.milestones for what, schedule in schedules.items() if schedule is not None}
    Doubts(milestones, on_note, writer).subscribe(bus)
    session.world.broadcast(None)  # the others have read the checkpoint that this one goes on from
    if mirror is not None:
        bus.on(EpochEnded, lambda event: mirror.epoch_ended(event.snapshot.clock.epoch))
    if session.clock.step == 0:
        keeper.save_initial()
    forgotten = {DIVERGED: None} if DIVERGED in layout.read_info(writer.folder) else {}
    begin(writer, processes=session.world.size, compute=session.compute, **forgotten)
    status = "failed"
    try:
        if mirror is not None:
            there = read_records(layout.records_path(writer.folder))
            mirror.begin([record for record in there if record.origin == TRAINING], session.clock.epoch)
        status = train(session, bus, resumed=resume)
    except KeyboardInterrupt:
        status = "interrupted"
    finally:
        chosen = asdict(keeper.best) if keeper.best else None
        # What stops a run that failed may be that nothing can be written any more: then its error counts.
        with suppress(*([OSError] if status == "failed" else [])):
            diverged = {DIVERGED: asdict(session.divergence)} if session.divergence is not None else {}
            end(writer, status, epoch=session.clock.epoch, best=chosen, wall_seconds=round(wall(), 3), **diverged)
        if mirror is not None:
            mirror.end(status)
    return status


def _train_beside(session: Session, folder: Path, bus: EventBus, *, resume: bool) -> str:
    """Train in a process that is not the first: nothing is written."""
    path = layout.resumable_path(folder) if resume else None
    begin_dynamics(session)
    if path is not None:
        _put_into(session, load_checkpoint(path))
    session.history = lambda clock: FolderHistory(folder, clock.epoch)
    record_dynamics(session, bus, None)
    settings = session.config.probes
    prepare = _never if settings.budget is not None else None
    LiveProbes(make_probes(settings), settings.every, _forget, _forget, prepare, session.world).subscribe(bus)
    session.world.broadcast(None)
    try:
        return train(session, bus, resumed=resume)
    except KeyboardInterrupt:
        return "interrupted"


def _never(event: EpochEnded) -> tuple[Sequence[Probe], int]:
    raise AssertionError("the first process chooses the sizes of probes")


def _forget(*_: object) -> None:
    """What the first process writes down."""


def _subscribe(
    bus: EventBus,
    session: Session,
    recorder: Recorder,
    keeper: CheckpointKeeper,
    failures: Failures,
    budget: LiveBudget | None,
) -> None:
    """Records and dynamics first, then probes, then the checkpoint that counts both as written."""

    def second_weights(event: EpochEnded) -> None:
        for second in event.seconds:
            recorder.second_weights(second.snapshot.name_of("evaluation"), second.values, second.snapshot.clock)

    probes = make_probes(session.config.probes)
    bus.on(EpochEnded, lambda event: recorder.training(event.values, event.snapshot.clock))
    bus.on(EpochEnded, second_weights)
    record_dynamics(session, bus, keeper.folder.parent)
    every = session.config.probes.every
    LiveProbes(probes, every, recorder.measurement, failures, budget, session.world).subscribe(bus)
    bus.on(EpochEnded, lambda event: recorder.probing_ended(event.snapshot.clock))
    bus.on(EpochEnded, keeper.on_epoch)
    if session.config.checkpoint.steps:
        bus.on(StepEnded, keeper.on_step)


def _live_budget(session: Session, writer: RunWriter, recorder: Recorder) -> LiveBudget | None:
    """What chooses the probes' sizes, where the run has a budget."""
    settings = session.config.probes
    if settings.budget is None:
        return None
    keepers = [r for r in session.regularizers.values() if type(r).second_weights is not Regularizer.second_weights]
    n_epochs, n_weights = session.config.epochs, 1 + len(keepers)
    return LiveBudget(settings, writer, recorder.pilot, n_epochs=n_epochs, n_weights=n_weights)


def _go_on_from(checkpoint: Checkpoint | None, session: Session, writer: RunWriter) -> tuple[Best | None, float]:
    """Put a checkpoint into the session and cut the records back to it; to nothing where there is none.

    Returns:
        The best epoch so far, and the seconds that the run took up to then.
    """
    if checkpoint is None:
        writer.truncate(0)
        writer.drop_arrays_after(0)
        return None, 0.0
    _put_into(session, checkpoint)
    writer.truncate(int(checkpoint.notes[POSITION]))
    writer.drop_arrays_after(checkpoint.clock.epoch)
    best = checkpoint.notes.get("best")
    return (Best(**best) if best else None), float(checkpoint.notes["wall_seconds"])


def _put_into(session: Session, checkpoint: Checkpoint) -> None:
    restore(session, checkpoint)
    session.clock = replace(session.clock, n_epochs=session.config.epochs)  # it may end later than it was to
