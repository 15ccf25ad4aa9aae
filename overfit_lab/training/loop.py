"""The training loop: epochs of steps, and what happens between them."""

from __future__ import annotations

import time
from dataclasses import replace

from overfit_lab.methods.attacks.gradient import NotFinite, counting_not_finite
from overfit_lab.probes.snapshot import Snapshot
from overfit_lab.records.status import DIVERGED
from overfit_lab.training.divergence import divergence_in
from overfit_lab.training.evaluation import evaluate
from overfit_lab.training.events import EpochEnded, EventBus, RunEnded, RunStarted, SecondWeights
from overfit_lab.training.session import Session
from overfit_lab.training.step import take_step
from overfit_lab.training.tally import EpochTallies
from overfit_lab.types import Value

NOT_FINITE = "gradients_not_finite"
"""Field of an epoch whose attack met such gradients."""


def train(session: Session, bus: EventBus, *, resumed: bool = False) -> str:
    """Train from where the session's clock stands to the end, emitting every event.

    A run that diverges ends after the epoch in which it does, unless its configuration says that it goes on.

    A KeyboardInterrupt ends the run with the status ``interrupted`` and goes on to the caller; any other error with
    ``failed``.

    Returns:
        ``"completed"`` or ``"diverged"``.
    """
    status = "failed"
    try:
        bus.emit(RunStarted(session.snapshot(), resumed=resumed))
        while not session.ended and not session.given_up:
            train_epoch(session, bus)
        status = "completed" if session.divergence is None else DIVERGED
        return status
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    finally:
        bus.emit(RunEnded(status, session.clock))


def train_epoch(session: Session, bus: EventBus) -> None:
    """One pass over the training split, or what is left of it, then the evaluation where one is due."""
    clock, n_batches, world = session.clock, session.loader.n_batches, session.world
    epoch = clock.epoch
    first = round((clock.progress - epoch) * n_batches)
    begun = clock.step - first
    if session.tallies is None:
        session.tallies = EpochTallies(session.device, session.reference)
    tallies = session.tallies
    rows = None if session.sees_whole_batches else lambda n: session.share(n).rows
    with counting_not_finite() as not_finite:
        for i, batch in enumerate(session.loader.epoch(epoch, first=first, rows=rows), start=first):
            n = len(batch.y) if world.size == 1 else len(session.loader.indices(epoch, i))
            session.clock = replace(session.clock, step=begun + i, progress=epoch + i / n_batches)
            take_step(session, batch, bus, n)
    session.clock = replace(session.clock, epoch=epoch + 1, step=begun + n_batches, progress=float(epoch + 1))
    session.tallies = None
    if session.divergence is None:
        session.divergence = divergence_in(tallies.steps, session.model, begun, epoch)
    for regularizer in session.regularizers.values():
        regularizer.epoch_ended(session.clock)
    end_epoch(session, bus, [*tallies.values(len(session.data.splits["train"])), *_counted(not_finite, "train")])


def _counted(not_finite: NotFinite, split: str) -> list[Value]:
    """The number of an attack's gradients that were not finite, where there were any."""
    return [Value(NOT_FINITE, float(not_finite.count), split)] if not_finite.count else []


def end_epoch(session: Session, bus: EventBus, values: list[Value]) -> None:
    """Evaluate the raw weights and then the second ones, where an evaluation is due, and tell everybody."""
    snapshot = session.snapshot()
    due = session.clock.epoch >= session.config.epochs or session.clock.epoch % session.config.evaluation.every == 0
    began = time.perf_counter()
    if due:
        measured = evaluate(snapshot, session.config.evaluation, session.world)
        for regularizer in session.regularizers.values():
            regularizer.evaluated(measured, session.clock)
        values = [*values, *measured]
    seconds = [
        SecondWeights(second, evaluate(second, session.config.evaluation, session.world) if due else [])
        for second in _wanted(session, due)
    ]
    if due:
        values.append(Value("seconds_evaluation", time.perf_counter() - began))
    bus.emit(EpochEnded(snapshot, values, session.ended, seconds))


def _wanted(session: Session, evaluated: bool) -> list[Snapshot]:
    """The second weights, where an evaluation or a probe looks at them in this epoch."""
    probes = session.config.probes
    probed = probes.metrics and (session.ended or session.clock.epoch % probes.every == 0)
    return session.second_snapshots() if evaluated or probed else []
