"""The training loop: batches in, events out."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from overfit_lab.config import RunConfig, resolve_moment
from overfit_lab.data.loader import Loader
from overfit_lab.methods.attacks.base import Attack
from overfit_lab.methods.labels.base import CleanForward, LabelMode, Refresh
from overfit_lab.methods.objectives.base import Objective
from overfit_lab.methods.regularizers.base import Regularizer, Step
from overfit_lab.methods.schedules.base import Schedule
from overfit_lab.methods.teachers import Teachers
from overfit_lab.models.isolation import mode, unmoved_statistics
from overfit_lab.probes.priors.base import PriorStore
from overfit_lab.probes.snapshot import RAW, History, Snapshot
from overfit_lab.processes.draws import for_rows
from overfit_lab.processes.share import Share
from overfit_lab.processes.world import ALONE, World
from overfit_lab.seeds import derive_generator
from overfit_lab.training.evaluation import evaluate
from overfit_lab.training.events import (
    EpochEnded,
    EventBus,
    GradientsReady,
    RunEnded,
    RunStarted,
    SecondWeights,
    StepEnded,
)
from overfit_lab.training.tally import EpochTallies
from overfit_lab.types import Batch, Clock, Dataset, Outputs, Targets, Value


@dataclass
class Session:
    """Everything one run consists of while it trains; :func:`~.training.build.build` makes it from a configuration.

    ``clock`` is where training stands: completed epochs and steps. ``regularizers`` are applied in their order.
    ``world`` are the processes that share the run's batches; ``tallies`` holds what the present epoch came to so far.
    """

    config: RunConfig
    device: torch.device
    data: Dataset
    model: nn.Module
    reference: dict[str, Tensor]
    penultimate: str | None
    loader: Loader
    attack: Attack | None
    evaluation_attack: Attack | None
    objective: Objective
    labels: LabelMode
    schedule: Schedule
    optimizer: Optimizer
    clock: Clock
    regularizers: dict[str, Regularizer] = field(default_factory=dict)
    eps_schedule: Schedule | None = None
    corruption: Attack | None = None
    black_box: Attack | None = None
    teachers: Teachers | None = None
    priors: PriorStore = field(default_factory=PriorStore)
    history: Callable[[Clock], History] | None = None
    autocast_dtype: torch.dtype | None = None
    compute: dict[str, Any] = field(default_factory=dict)
    world: World = ALONE
    tallies: EpochTallies | None = None

    def share(self, n: int) -> Share:
        """This process's part of a batch of n samples."""
        return self.world.share(n, paired=self.objective.pairs_samples)

    @property
    def sees_whole_batches(self) -> bool:
        """Whether this process draws the whole of a batch before it takes its rows.

        So it is where a regularizer or the objective changes images: it may mix them, or draw numbers for all of them.
        """
        changes = [type(r).batch is not Regularizer.batch for r in self.regularizers.values()]
        return self.world.size > 1 and (any(changes) or type(self.objective).inputs is not Objective.inputs)

    def autocast(self) -> AbstractContextManager[object]:
        """Mixed precision where the run asks for it."""
        enabled = self.autocast_dtype is not None
        return torch.autocast(self.device.type, dtype=self.autocast_dtype, enabled=enabled)

    @property
    def ended(self) -> bool:
        """Whether all epochs are done, or a regularizer ended training."""
        return self.clock.epoch >= self.config.epochs or any(r.finished for r in self.regularizers.values())

    def snapshot(self, model: nn.Module | None = None, weights: str = RAW, drawn_at: int | None = None) -> Snapshot:
        """The model as it stands, or another one in its place, for evaluation and probes."""
        return Snapshot(
            self.model if model is None else model,
            self.data,
            clock=self.clock,
            seed=self.config.seed,
            attack=self.evaluation_attack,
            corruption=self.corruption,
            black_box=self.black_box,
            objective=self.objective,
            labels=self.labels,
            reference=self.reference,
            penultimate=self.penultimate,
            chunk=self.config.evaluation.chunk,
            batch_size=self.config.batch_size,
            weights=weights,
            drawn_at=drawn_at,
            priors=self.priors,
            history=self.history(self.clock) if self.history is not None else None,
        )

    def second_snapshots(self) -> list[Snapshot]:
        """The second weights that regularizers keep, each in a copy of the model.

        Cost: a copy of the model each, and what a regularizer needs for its batch-norm statistics.
        """
        found = []
        for name, regularizer in self.regularizers.items():
            with torch.no_grad():
                other = copy.deepcopy(self.model)
                if regularizer.second_weights(other):
                    found.append(self.snapshot(other, name, regularizer.drawn_at))
        return found


def train(session: Session, bus: EventBus, *, resumed: bool = False) -> None:
    """Train from where the session's clock stands to the end, emitting every event.

    A KeyboardInterrupt ends the run with the status ``interrupted`` and goes on to the caller; any other error with
    ``failed``.
    """
    status = "failed"
    try:
        bus.emit(RunStarted(session.snapshot(), resumed=resumed))
        while not session.ended:
            train_epoch(session, bus)
        status = "completed"
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
    tallies = session.tallies if session.tallies is not None else EpochTallies(session.device, session.reference)
    session.tallies = tallies
    rows = None if session.sees_whole_batches else lambda n: session.share(n).rows
    for i, batch in enumerate(session.loader.epoch(epoch, first=first, rows=rows), start=first):
        n = len(batch.y) if world.size == 1 else len(session.loader.indices(epoch, i))
        session.clock = replace(session.clock, step=begun + i, progress=epoch + i / n_batches)
        lr = set_learning_rate(session)
        loss = train_step(session, batch, bus, session.share(n))
        tallies.add(loss, session.model, n, lr)
        session.optimizer.step()
        for regularizer in session.regularizers.values():
            regularizer.stepped(session.clock)
        bus.emit(StepEnded(session.clock, loss, lr))
    session.clock = replace(session.clock, epoch=epoch + 1, step=begun + n_batches, progress=float(epoch + 1))
    session.tallies = None
    for regularizer in session.regularizers.values():
        regularizer.epoch_ended(session.clock)
    end_epoch(session, bus, tallies.values(len(session.data.splits["train"])))


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


def set_learning_rate(session: Session) -> float:
    """The learning rate of this step, put into the optimiser."""
    options, progress = session.config.optimizer, session.clock.progress
    lr = options.lr * session.schedule.factor(progress)
    warmup = resolve_moment(options.warmup, session.config.epochs)
    if progress < warmup:
        lr *= (progress + 1 / session.loader.n_batches) / warmup
    for group in session.optimizer.param_groups:
        group["lr"] = lr
    return lr


def train_step(session: Session, batch: Batch, bus: EventBus, share: Share | None = None) -> Tensor:
    """Attack, forward and backward of one batch; gradients are ready afterwards, the weights not yet changed.

    Args:
        session: the run.
        batch: what the loader gave.
        bus: is told when the gradients are ready, those of the whole batch.
        share: this process's part of the batch; None: all of it.

    Returns:
        The loss over the whole batch, a scalar on the device, detached.
    """
    session.model.train()
    step = attacked_step(session, batch, share)
    with session.world.norms(step.share), ExitStack() as perturbations:
        for regularizer in session.regularizers.values():
            perturbations.enter_context(regularizer.perturbed(step))
        loss = step.share.weighted(step_loss(session, step))
        session.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
    loss = sum_over_processes(session, loss.detach())
    bus.emit(GradientsReady(session.model, session.clock))
    return loss


def sum_over_processes(session: Session, loss: Tensor) -> Tensor:
    """The loss of the whole batch; its gradients are put in the place of this process's part of them.

    Cost: one exchange of the gradients; nothing where there is one process.
    """
    world = session.world
    if world.size == 1:
        return loss
    total = loss.reshape(1).float()
    gradients = [p.grad for p in session.model.parameters() if p.grad is not None]
    world.sum_tensors([*gradients, *world.average_statistics(session.model), total])
    return total[0]


def attacked_step(session: Session, batch: Batch, share: Share | None = None) -> Step:
    """This process's rows as regularizers and objective want them, with their targets and adversarial images."""
    share = share if share is not None else Share(len(batch.y))
    model, labels, clock, world = session.model, session.labels, session.clock, session.world
    for regularizer in session.regularizers.values():
        batch = regularizer.batch(batch, clock)
    noise = derive_generator(session.config.seed, "inputs", clock.step, device=session.device)
    batch = replace(batch, x=session.objective.inputs(batch.x, noise))
    own = share.take(batch) if session.sees_whole_batches else batch
    with session.autocast():
        if labels.refresh is Refresh.BEFORE_ATTACK and labels.active(clock):
            with world.norms(share):
                clean = clean_logits(model, own.x, labels.clean_forward)
            update_labels(session, own, Outputs(clean=clean), share)
        targets = targets_of(session, batch, share)
        x_adv = attack_batch(session, own, targets, share)
    return Step(model, own, x_adv, targets, session.objective, clock, session.autocast, batch, share, world.sum_tensors)


def step_loss(session: Session, step: Step) -> Tensor:
    """The scalar to minimise, with gradients; label memory takes in this step's predictions on the way."""
    model, labels, batch = session.model, session.labels, step.batch
    with session.autocast():
        outputs = session.objective.forward(model, batch, step.x_adv)
        if labels.refresh is Refresh.AFTER_FORWARD and labels.active(step.clock):
            update_labels(session, batch, seen_by_labels(model, batch, outputs, labels), step.share)
        loss = session.objective.loss(outputs, targets_of(session, step.full_batch, step.share))
        for regularizer in session.regularizers.values():
            loss = regularizer.loss(loss, step, outputs)
    return loss


def update_labels(session: Session, batch: Batch, outputs: Outputs, share: Share) -> None:
    """Have the label mode take in the outputs on the whole batch, so that every process has the same memory.

    Cost: with several processes an exchange of the logits, and of the images where the mode looks at them.
    """
    labels = session.labels
    if share.is_split:
        whole = partial(session.world.whole, share=share)
        images = whole(batch.x) if labels.sees_images else batch.x[:0]
        batch = Batch(x=images, y=whole(batch.y), index=whole(batch.index))
        clean, adv = (None if logits is None else whole(logits) for logits in (outputs.clean, outputs.adv))
        outputs = Outputs(clean=clean, adv=adv)
    labels.update(batch, outputs, session.clock)


def targets_of(session: Session, batch: Batch, share: Share | None = None) -> Targets:
    """What the label mode asks for, as it goes with the regularizers' images; of this process's rows."""
    targets = session.labels.targets(batch, session.clock)
    for regularizer in session.regularizers.values():
        targets = regularizer.targets(targets)
    return share.take(targets) if share is not None and session.sees_whole_batches else targets


def attack_batch(session: Session, batch: Batch, targets: Targets, share: Share) -> Tensor:
    """Adversarial images of this process's rows; the clean ones where the objective needs no attack."""
    if session.attack is None or not session.objective.needs_attack:
        return batch.x
    attack = session.attack
    if session.eps_schedule is not None:
        attack = attack.scaled(session.eps_schedule.factor(session.clock.progress))
    generator = derive_generator(session.config.seed, "attack", session.clock.step, device=session.device)
    if share.is_split:
        generator = for_rows(generator, share.rows, share.n)
    loss = session.objective.attack_loss(session.model, batch, targets)
    with session.world.norms(share) if session.config.attack.bn_mode == "train" else nullcontext():
        return attack(session.model, batch.x, loss, generator=generator, start=session.objective.attack_start)


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
