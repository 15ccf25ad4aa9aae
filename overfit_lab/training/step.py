"""One training step.

Its moments, in their order, each with who has a say in it:

1.  The learning rate: schedule and warm-up.                                        :func:`set_learning_rate`
2.  Augmentation: the loader before the step; then regularizers (``batch``) and the objective (``inputs``).
3.  Refresh of label memory before the attack, where the label mode asks for it.    :func:`update_labels`
4.  Targets: the label mode, as regularizers change them.                           :func:`targets_of`
5.  Attack, in the threat model that the eps schedule scales.                       :func:`attack_batch`
6.  Perturbation of the weights: regularizers (``perturbed``), such as AWP, until the backward pass is done.
7.  Forward: the objective.                                                         :func:`step_loss`
8.  Refresh of label memory after the forward pass, where the label mode asks for it; dynamics of the samples take in
    the outputs; then the targets again.
9.  Loss: the objective, then regularizers (``loss``).
10. Backward.
11. Exchange of gradients, batch-norm statistics and the loss among processes.      :func:`sum_over_processes`
12. Event: :class:`GradientsReady`.
13. The epoch's tallies take in loss and gradients.
14. Optimiser.
15. Regularizers (``stepped``), such as averages of the weights.
16. Event: :class:`StepEnded`.

:func:`take_step` is all of them; :func:`train_step` is 2 to 12, :func:`attacked_step` 2 to 5.
"""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from overfit_lab.config import RunConfig, resolve_moment
from overfit_lab.methods.labels.base import CleanForward, LabelMode, Refresh
from overfit_lab.methods.regularizers.base import Step
from overfit_lab.methods.schedules.base import Schedule
from overfit_lab.models.isolation import mode, unmoved_statistics
from overfit_lab.processes.draws import for_rows
from overfit_lab.processes.share import Share
from overfit_lab.seeds import derive_generator
from overfit_lab.training.events import EventBus, GradientsReady, StepEnded
from overfit_lab.training.session import Session
from overfit_lab.types import Batch, Outputs, Targets


def take_step(session: Session, batch: Batch, bus: EventBus, n: int) -> None:
    """One step of the optimiser, from a batch of the loader to the events.

    Args:
        session: the run, its clock at this step and its tallies begun.
        batch: what the loader gave: the batch, or this process's rows of it.
        n: samples of the batch over all processes.
    """
    assert session.tallies is not None
    lr = set_learning_rate(session)
    loss = train_step(session, batch, bus, session.share(n))
    # Before the optimiser's step: it tallies the gradient at the weights that the gradient was taken at.
    session.tallies.add(loss, session.model, n, lr)
    session.optimizer.step()
    for regularizer in session.regularizers.values():
        regularizer.stepped(session.clock)
    bus.emit(StepEnded(session.clock, loss, lr))


def set_learning_rate(session: Session) -> float:
    """The learning rate of this step, put into the optimiser."""
    lr = learning_rate(session.config, session.schedule, session.clock.progress, session.loader.n_batches)
    for group in session.optimizer.param_groups:
        group["lr"] = lr
    return lr


def learning_rate(config: RunConfig, schedule: Schedule, progress: float, n_batches: int) -> float:
    """The learning rate after some completed epochs (fractions count) of so many batches."""
    lr = config.optimizer.lr * schedule.factor(progress)
    warmup = resolve_moment(config.optimizer.warmup, config.epochs)
    return lr * ((progress + 1 / n_batches) / warmup) if progress < warmup else lr


def train_step(session: Session, batch: Batch, bus: EventBus, share: Share | None = None) -> Tensor:
    """Attack, forward and backward of one batch; gradients are ready afterwards, the weights not yet changed.

    Args:
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
    world.all_reduce([*gradients, *world.norm_statistics(session.model), total])
    return total[0]


def attacked_step(session: Session, batch: Batch, share: Share | None = None) -> Step:
    """This process's rows as regularizers and objective want them, with their targets and adversarial images."""
    share = share if share is not None else Share(len(batch.y))
    model, labels, clock, world = session.model, session.labels, session.clock, session.world
    for regularizer in session.regularizers.values():
        batch = regularizer.batch(batch, clock)
    noise = derive_generator(session.config.seed, "inputs", clock.step, device=session.device)
    batch = replace(batch, x=session.objective.inputs(batch.x, noise))
    part = share.take(batch) if session.sees_whole_batches else batch
    with session.autocast():
        if labels.refresh is Refresh.BEFORE_ATTACK and labels.active(clock):
            with world.norms(share):
                clean = clean_logits(model, part.x, labels.clean_forward)
            if session.dynamics is not None:
                session.dynamics.clean_before(clean)
            update_labels(session, part, Outputs(clean=clean), share)
        targets = targets_of(session, batch, share)
        x_adv = attack_batch(session, part, targets, share)
    return Step(model, part, x_adv, targets, session.objective, clock, session.autocast, batch, share, world.all_reduce)


def step_loss(session: Session, step: Step) -> Tensor:
    """The scalar to minimise, with gradients; label memory takes in this step's predictions on the way."""
    model, labels, batch = session.model, session.labels, step.batch
    with session.autocast():
        seen = outputs = session.objective.forward(model, batch, step.x_adv)
        if labels.refresh is Refresh.AFTER_FORWARD and labels.active(step.clock):
            seen = seen_by_labels(model, batch, outputs, labels)
            update_labels(session, batch, seen, step.share)
        if session.dynamics is not None:
            session.dynamics.take_step(batch, seen, step.share)
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
        gather = partial(session.world.gather, share=share)
        images = gather(batch.x) if labels.sees_images else batch.x[:0]
        batch = Batch(x=images, y=gather(batch.y), index=gather(batch.index))
        clean, adv = (None if logits is None else gather(logits) for logits in (outputs.clean, outputs.adv))
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
    if session.ascents is not None:
        attack = session.ascents.of(attack, batch, targets)
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
