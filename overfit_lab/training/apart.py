"""Training a model in memory, on a view of a run's data: nothing is written, and the run is not changed."""

from __future__ import annotations

from collections.abc import Callable

import torch

from overfit_lab.config import RunConfig
from overfit_lab.methods.first import TrainedFirst
from overfit_lab.seeds import private_streams
from overfit_lab.training.events import EventBus, RunEnded, RunStarted
from overfit_lab.training.loop import train_epoch
from overfit_lab.training.session import Session
from overfit_lab.types import Clock


def train_apart(
    build: Callable[..., Session], device: torch.device, first: TrainedFirst, bus: EventBus | None = None
) -> tuple[torch.nn.Module, RunConfig]:
    """Train one model from its start.

    Returns:
        The model, and its complete configuration.
    """
    bus = bus if bus is not None else EventBus()
    n_epochs = first.n_epochs if first.n_epochs is not None else first.config.epochs
    with private_streams(first.config.seed):
        session = build(first.config, device, data=first.view)
        session.clock = Clock(epoch=0, step=0, n_epochs=n_epochs)
        start_from(session, first.start or {})
        bus.emit(RunStarted(session.snapshot()))
        while session.clock.epoch < n_epochs:
            train_epoch(session, bus)
        bus.emit(RunEnded("completed", session.clock))
    return session.model, session.config


@torch.no_grad()
def start_from(session: Session, weights: dict[str, torch.Tensor]) -> None:
    """Put weights into the session's model, and let distances be counted from them."""
    for name, parameter in session.model.named_parameters():
        if name in weights:
            parameter.copy_(weights[name])
            session.reference[name].copy_(weights[name])
