"""From a configuration to the objects of a run: the only wiring of data, model, attack, labels and objective."""

from __future__ import annotations

import copy
from functools import partial

import torch
from torch import nn

from overfit_lab.config import RunConfig
from overfit_lab.data.dataset import load_dataset
from overfit_lab.errors import ConfigError
from overfit_lab.methods.first import TrainedFirst
from overfit_lab.methods.teachers import Teachers
from overfit_lab.models.factory import build_model
from overfit_lab.probes.priors.store import PriorStore
from overfit_lab.probes.snapshot import Setting
from overfit_lab.processes.world import ALONE, World
from overfit_lab.seeds import private_streams
from overfit_lab.training.complete import check_classes, check_shares, combine
from overfit_lab.training.compute import resolve_compute
from overfit_lab.training.events import EventBus, RunEnded, RunStarted
from overfit_lab.training.loop import train_epoch
from overfit_lab.training.parts import (
    build_attack,
    build_black_box,
    build_corruption,
    build_loader,
    build_optimizer,
    build_regularizers,
    label_context,
)
from overfit_lab.training.session import Session
from overfit_lab.types import Clock, Dataset, to_float


def check_batches(config: RunConfig, model: nn.Module, data: Dataset) -> None:
    """Refuse batches of one image where the model cannot be trained on one, as batch norm of vectors cannot.

    Raises:
        ConfigError: so it is.

    Cost: a forward pass of one image, where batches are of one.
    """
    split = data.splits["train"]
    if min(config.batch_size, len(split)) > 1:
        return
    with torch.no_grad(), private_streams(0):
        try:
            copy.deepcopy(model).train()(to_float(next(iter(split.x.split(1)))))
        except ValueError as error:
            what = f"batch_size = {config.batch_size}, {len(split)} training samples"
            raise ConfigError(f"{what}: the model cannot be trained on one image at a time ({error})") from error


def build(
    config: RunConfig, device: torch.device, *, trust: bool = False, data: Dataset | None = None, world: World = ALONE
) -> Session:
    """Everything that a run needs, at its beginning.

    Args:
        trust: import the code that the configuration of a teacher's run names.
        data: in the place of the data that the configuration names.

    Raises:
        ConfigError: the configuration asks for what does not exist or does not fit together.
        DataUnavailableError: the data set is not on this machine.
    """
    run = combine(config)
    config = run.config
    data = load_dataset(config.data, config.seed, device) if data is None else data
    check_classes(config.evaluation, data)
    check_shares(config, world.size)
    model = build_model(config.model, data, device, seed=config.seed)
    check_batches(config, model, data)
    compute = resolve_compute(config, model, data, device)
    if compute["channels_last"]:
        model = model.to(memory_format=torch.channels_last)
    reference = {name: p.detach().clone() for name, p in model.named_parameters()}
    teachers = Teachers(config, data, device, trust=trust)
    setting = Setting(
        data=data,
        seed=config.seed,
        attack=build_attack(config.attack, config.evaluation, fold=compute["fold"]),
        corruption=build_corruption(config.attack, config.evaluation),
        black_box=build_black_box(config.attack, config.evaluation),
        objective=run.choices["objective"].make(),
        labels=run.choices["labels"].make(label_context(config, data, teachers)),
        reference=reference,
        penultimate=config.model.options.get("penultimate") or getattr(model, "penultimate", None),
        chunk=config.evaluation.chunk,
        batch_size=config.batch_size,
        priors=PriorStore(config, partial(train_apart, device)),
    )
    eps_schedule = run.choices["eps_schedule"]
    return Session(
        config=config,
        device=device,
        setting=setting,
        model=model,
        loader=build_loader(config, data),
        attack=build_attack(config.attack, fold=compute["fold"]),
        schedule=run.schedule,
        optimizer=build_optimizer(config, model),
        clock=Clock(epoch=0, step=0, n_epochs=config.epochs),
        regularizers=build_regularizers(run, data, model, teachers),
        eps_schedule=eps_schedule.make(config.epochs) if eps_schedule.name != "constant" else None,
        teachers=teachers,
        compute=compute,
        world=world,
    )


def train_apart(device: torch.device, first: TrainedFirst, bus: EventBus | None = None) -> tuple[nn.Module, RunConfig]:
    """Train a model in memory, on a view of a run's data: nothing is written, and the run is not changed.

    Returns:
        The model, and its complete configuration.
    """
    bus = bus if bus is not None else EventBus()
    n_epochs = first.n_epochs if first.n_epochs is not None else first.config.epochs
    start = first.start or {}
    with private_streams(first.config.seed):
        session = build(first.config, device, data=first.view)
        session.clock = Clock(epoch=0, step=0, n_epochs=n_epochs)
        for name, parameter in session.model.named_parameters():
            if name in start:
                parameter.detach().copy_(start[name])
                session.reference[name].copy_(start[name])  # distances are counted from there
        bus.emit(RunStarted(session.snapshot()))
        while session.clock.epoch < n_epochs:
            train_epoch(session, bus)
        bus.emit(RunEnded("completed", session.clock))
    return session.model, session.config
