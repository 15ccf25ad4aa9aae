"""What happens during training, as typed events that anybody can listen to or emit."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import nn

from overfit_lab.probes.snapshot import Snapshot
from overfit_lab.types import Clock, Value


@dataclass(frozen=True)
class RunStarted:
    """Before the first step, also of a resumed run."""

    snapshot: Snapshot
    resumed: bool = False


@dataclass(frozen=True)
class GradientsReady:
    """After the backward pass, before the optimiser's step: parameters hold the mini-batch gradient."""

    model: nn.Module
    clock: Clock


@dataclass(frozen=True)
class StepEnded:
    """After the optimiser's step. ``loss`` is a scalar tensor on the device: reading its value waits for the device."""

    clock: Clock
    loss: Any
    lr: float


@dataclass(frozen=True)
class SecondWeights:
    """Weights that a regularizer keeps beside the raw ones, after an epoch, with their accuracies where evaluated."""

    snapshot: Snapshot
    values: list[Value] = field(default_factory=list)


@dataclass(frozen=True)
class EpochEnded:
    """After an epoch's last step and its evaluation, before its checkpoint is written.

    ``values`` are the numbers that training itself measured in this epoch. ``seconds`` are the weights that
    regularizers keep beside the raw ones.
    """

    snapshot: Snapshot
    values: list[Value] = field(default_factory=list)
    is_last: bool = False
    seconds: list[SecondWeights] = field(default_factory=list)


@dataclass(frozen=True)
class RunEnded:
    """After the last step: completed, diverged, interrupted or failed."""

    status: str
    clock: Clock


Event = RunStarted | GradientsReady | StepEnded | EpochEnded | RunEnded
E_ = TypeVar("E_")


class EventBus:
    """Calls each subscriber of an event's type, in the order in which they subscribed."""

    def __init__(self) -> None:
        self._handlers: dict[type, list[Callable[[Any], None]]] = {}

    def on(self, event_type: type[E_], handler: Callable[[E_], None]) -> Callable[[E_], None]:
        """Subscribe; the handler is called with each event of exactly this type.

        Raises:
            TypeError: the handler cannot be called with one argument, or the type is no event.
        """
        if not isinstance(event_type, type) or event_type not in Event.__args__:  # type: ignore[attr-defined]
            names = ", ".join(kind.__name__ for kind in Event.__args__)  # type: ignore[attr-defined]
            raise TypeError(f"{event_type!r} is no event; events are {names}")
        try:
            inspect.signature(handler).bind(object())
        except TypeError as error:
            raise TypeError(f"a handler of {event_type.__name__} takes one argument, the event") from error
        self._handlers.setdefault(event_type, []).append(handler)
        return handler

    def emit(self, event: Event) -> None:
        """Call the subscribers of this event's type."""
        for handler in self._handlers.get(type(event), ()):
            handler(event)

    def listens(self, event_type: type) -> bool:
        """Whether anybody subscribed to this type."""
        return bool(self._handlers.get(event_type))
