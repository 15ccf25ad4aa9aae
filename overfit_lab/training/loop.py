"""The training loop: batches in, events out."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from overfit_lab.attacks.base import Attack
from overfit_lab.config import RunConfig
from overfit_lab.data.loader import EpochLoader
from overfit_lab.isolation import mode, unmoved_statistics
from overfit_lab.labels.base import CleanForward, LabelMode, Refresh
from overfit_lab.objectives.base import Objective
from overfit_lab.schedules.base import Schedule
from overfit_lab.seeds import derive_generator
from overfit_lab.snapshot import Snapshot
from overfit_lab.training.evaluation import evaluate
from overfit_lab.training.events import (
    EpochEnded,
    EventBus,
    GradientsReady,
    RunEnded,
    RunStarted,
    StepEnded,
)
from overfit_lab.training.tally import Tally
from overfit_lab.types import Batch, Clock, Dataset, Outputs, Targets, Value


@dataclass
class Session:
    """Everything one run consists of while it trains; :func:`overfit_lab.build.build` makes it from a configuration.

    ``clock`` is where training stands: completed epochs and steps.
    """

    config: RunConfig
    device: torch.device
    data: Dataset
    model: nn.Module
    reference: dict[str, Tensor]
    penultimate: str | None
    loader: EpochLoader
    attack: Attack | None
    evaluation_attack: Attack | None
    objective: Objective
    labels: LabelMode
    schedule: Schedule
    optimizer: Optimizer
    clock: Clock
    autocast_dtype: torch.dtype | None = None
    compute: dict[str, Any] = field(default_factory=dict)

    def autocast(self) -> AbstractContextManager[object]:
        """Mixed precision where the run asks for it."""
        enabled = self.autocast_dtype is not None
        return torch.autocast(self.device.type, dtype=self.autocast_dtype, enabled=enabled)

    def snapshot(self) -> Snapshot:
        """The model as it stands, for evaluation and probes."""
        return Snapshot(
            self.model,
            self.data,
            clock=self.clock,
            seed=self.config.seed,
            attack=self.evaluation_attack,
            objective=self.objective,
            labels=self.labels,
            reference=self.reference,
            penultimate=self.penultimate,
            chunk=self.config.evaluation.chunk,
            batch_size=self.config.batch_size,
        )


def train(session: Session, bus: EventBus, *, resumed: bool = False) -> None:
    """Train from where the session's clock stands to the end, emitting every event.

    A KeyboardInterrupt ends the run with the status ``interrupted`` and goes on to the caller; any other error with
    ``failed``.
    """
    status = "failed"
    try:
        bus.emit(RunStarted(session.snapshot(), resumed=resumed))
        while session.clock.epoch < session.config.epochs:
            train_epoch(session, bus)
        status = "completed"
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    finally:
        bus.emit(RunEnded(status, session.clock))


def train_epoch(session: Session, bus: EventBus) -> None:
    """One pass over the training split, then the evaluation where one is due."""
    started = time.perf_counter()
    epoch, step = session.clock.epoch, session.clock.step
    tally = Tally(session.device)
    n_batches = session.loader.n_batches
    lr = 0.0
    for i, batch in enumerate(session.loader.epoch(epoch)):
        session.clock = replace(session.clock, step=step + i, progress=epoch + i / n_batches)
        lr = set_learning_rate(session)
        loss = train_step(session, batch, bus)
        tally.add(loss, session.model, len(batch.y))
        session.optimizer.step()
        bus.emit(StepEnded(session.clock, loss, lr))
    session.clock = replace(session.clock, epoch=epoch + 1, step=step + n_batches, progress=float(epoch + 1))
    values = [*tally.values(), Value("lr", lr), Value("seconds_training", time.perf_counter() - started)]
    is_last = session.clock.epoch >= session.config.epochs
    snapshot = session.snapshot()
    if is_last or session.clock.epoch % session.config.evaluation.every == 0:
        began = time.perf_counter()
        values += evaluate(snapshot, session.config.evaluation)
        values.append(Value("seconds_evaluation", time.perf_counter() - began))
    bus.emit(EpochEnded(snapshot, values, is_last))


def set_learning_rate(session: Session) -> float:
    """The learning rate of this step, put into the optimiser."""
    lr = session.config.optimizer.lr * session.schedule.factor(session.clock.progress)
    for group in session.optimizer.param_groups:
        group["lr"] = lr
    return lr


def train_step(session: Session, batch: Batch, bus: EventBus) -> Tensor:
    """Attack, forward and backward of one batch; gradients are ready afterwards, the weights not yet changed.

    Returns:
        The loss, a scalar on the device, detached.
    """
    model, labels, objective, clock = session.model, session.labels, session.objective, session.clock
    model.train()
    with session.autocast():
        if labels.refresh is Refresh.BEFORE_ATTACK and labels.active(clock):
            labels.update(batch, Outputs(clean=clean_logits(model, batch.x, labels.clean_forward)), clock)
        x_adv = attack_batch(session, batch, labels.targets(batch, clock))
        outputs = objective.forward(model, batch, x_adv)
        if labels.refresh is Refresh.AFTER_FORWARD and labels.active(clock):
            labels.update(batch, seen_by_labels(model, batch, outputs, labels), clock)
        loss = objective.loss(outputs, labels.targets(batch, clock))
    session.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    bus.emit(GradientsReady(model, clock))
    return loss.detach()


def attack_batch(session: Session, batch: Batch, targets: Targets) -> Tensor:
    """Adversarial images of a batch; the clean ones where the objective needs no attack."""
    if session.attack is None or not session.objective.needs_attack:
        return batch.x
    generator = derive_generator(session.config.seed, "attack", session.clock.step, device=session.device)
    loss = session.objective.attack_loss(session.model, batch, targets)
    start = session.objective.attack_start
    return session.attack(session.model, batch.x, loss, generator=generator, start=start)


def seen_by_labels(model: nn.Module, batch: Batch, outputs: Outputs, labels: LabelMode) -> Outputs:
    """The detached outputs, with logits on the clean images added where the label mode needs them."""
    adv = outputs.adv.detach() if outputs.adv is not None else None
    if outputs.clean is not None:
        return Outputs(clean=outputs.clean.detach(), adv=adv)
    return Outputs(clean=clean_logits(model, batch.x, labels.clean_forward), adv=adv)


@torch.no_grad()
def clean_logits(model: nn.Module, x: Tensor, how: CleanForward) -> Tensor | None:
    """Logits on clean images without gradients, in the way that a label mode asks for."""
    if how is CleanForward.NONE:
        return None
    if how is CleanForward.EVAL:
        with mode(model, training=False):
            return model(x).float()  # type: ignore[no-any-return]
    if how is CleanForward.FROZEN:
        with unmoved_statistics(model):
            return model(x).float()  # type: ignore[no-any-return]
    return model(x).float()  # type: ignore[no-any-return]
