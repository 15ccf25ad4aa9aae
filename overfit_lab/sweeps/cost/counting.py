"""Counts the operations of real steps of a run, on tensors that have shapes and no numbers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry

from overfit_lab.models.compute.memory import PeakBytes
from overfit_lab.models.holdings import is_bookkeeping
from overfit_lab.probes.snapshot import Snapshot
from overfit_lab.processes.share import Share
from overfit_lab.processes.world import World
from overfit_lab.sweeps.cost.data_shape import DataShape
from overfit_lab.sweeps.cost.shapes import META, result_of
from overfit_lab.training.evaluation import evaluated
from overfit_lab.training.events import EventBus, StepEnded
from overfit_lab.training.loop import train_epoch
from overfit_lab.training.session import Session
from overfit_lab.types import Clock, Dataset, Split

aten = torch.ops.aten


def _normalised(x: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x), x.new_empty(x.shape[1]), x.new_empty(x.shape[1])


def _normalised_backward(_: Tensor, x: Tensor, *rest: Any) -> tuple[Tensor | None, ...]:
    return tuple(t if is_wanted else None for t, is_wanted in zip(_normalised(x), rest[-1], strict=True))


SHAPES: dict[Any, Callable[..., Any]] = {
    aten.relu.default: torch.empty_like,
    aten.threshold_backward.default: lambda _, x, *__: torch.empty_like(x),
    aten.native_batch_norm.default: _normalised,
    aten.native_batch_norm_backward.default: _normalised_backward,
}
"""Results of frequent operations, whose shapes torch takes a millisecond to work out on the meta device."""


def _remembered(func: Any, *args: Any, **kwargs: Any) -> Any:
    return result_of(func, args, kwargs)


@dataclass(frozen=True)
class Work:
    """Floating-point operations of convolutions and matrix products (a multiply and an add are two), and the calls of
    operations of any kind that a computation consists of.
    """

    flops: int = 0
    calls: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.flops + other.flops, self.calls + other.calls)

    def __sub__(self, other: Work) -> Work:
        return Work(self.flops - other.flops, self.calls - other.calls)

    def scaled(self, images: float, batches: float) -> Work:
        """The work of so many times the images in so many times the batches."""
        return Work(round(self.flops * images), round(self.calls * batches))


class Counter(PeakBytes):
    """Counts the work of everything inside but bookkeeping, and the bytes of all the tensors that it makes.

    Args:
        without_numbers: the tensors are on the meta device, so random numbers are not drawn.
    """

    def __init__(self, *, without_numbers: bool) -> None:
        super().__init__()
        self.work = Work()
        self.without_numbers = without_numbers

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count it."""
        kwargs = dict(kwargs or {})
        if self.without_numbers:
            self._keep_off_numbers(func, args, kwargs)
        run = (SHAPES.get(func) or partial(_remembered, func)) if self.without_numbers else func
        result = super().__torch_dispatch__(run, types, args, kwargs)
        if not is_bookkeeping():
            formula = flop_registry.get(func._overloadpacket)
            self.work += Work(formula(*args, **kwargs, out_val=result) if formula else 0, 1)
        return result

    @staticmethod
    def _keep_off_numbers(func: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if kwargs.get("generator") is not None:
            kwargs["generator"] = None
            if "device" in kwargs:
                kwargs["device"] = META
        # A count, such as batch norm's of its batches, decides what is done next, so it stays where it can be read.
        if func is torch.ops.aten._to_copy.default and args[0].dim() == 0 and not args[0].is_floating_point():
            kwargs["device"] = args[0].device


class Watch(World):
    """A process alone that notes in a step where the update begins, and how often gradients would be summed.

    Args:
        counter: what counts the step.
    """

    def __init__(self, counter: Counter) -> None:
        super().__init__()
        self.counter = counter
        self.begin()

    def begin(self) -> None:
        """A step begins; its own gradients are summed once."""
        self.n_exchanges = 1
        self.attack_ended = self.counter.work

    def norms(self, share: Share) -> AbstractContextManager[object]:
        """The loop asks for this before each forward pass in train mode, for the last time when the attack is over."""
        self.attack_ended = self.counter.work
        return nullcontext()

    def all_reduce(self, tensors: Any) -> None:
        """Only what sums gradients beside the loop's own sum calls this: AWP."""
        self.n_exchanges += 1


@dataclass(frozen=True)
class Step:
    """One training step: all before the loss, the rest, and how often several processes would sum gradients."""

    attack: Work
    update: Work
    n_exchanges: int

    @property
    def work(self) -> Work:
        """All of it."""
        return self.attack + self.update

    def scaled(self, images: float) -> Step:
        """The step with so many times the images."""
        return Step(self.attack.scaled(images, 1), self.update.scaled(images, 1), self.n_exchanges)

    @property
    def arithmetic(self) -> tuple[int, int, int]:
        """What two steps have in common that differ in calls alone."""
        return self.attack.flops, self.update.flops, self.n_exchanges


class _StepDone(Exception):
    """Leaves the epoch after its first step."""


def _leave(event: StepEnded) -> None:
    raise _StepDone


def take_step(session: Session, epoch: int) -> None:
    """The first step of an epoch, by the training loop itself."""
    session.clock = Clock(epoch, epoch, session.config.epochs, float(epoch))
    bus = EventBus()
    bus.on(StepEnded, _leave)
    with suppress(_StepDone):
        train_epoch(session, bus)
    session.tallies = None


def count_step(session: Session, counter: Counter, watch: Watch, epoch: int) -> Step:
    """The first step of an epoch, counted."""
    watch.begin()
    before = counter.work
    take_step(session, epoch)
    return Step(watch.attack_ended - before, counter.work - watch.attack_ended, watch.n_exchanges)


def steps_of_epochs(count: Callable[[int], Step], first: int, last: int) -> list[tuple[int, Step]]:
    """The sorts of steps from one epoch to another (itself in it), with how many epochs consist of each.

    Epochs between two whose steps have the same arithmetic are taken to be like them; else the interval is halved.
    """
    a, b = count(first), count(last)
    if a.arithmetic == b.arithmetic or first == last:
        return [(last - first + 1, b)]
    middle = (first + last) // 2
    return [*steps_of_epochs(count, first, middle), *steps_of_epochs(count, middle + 1, last)]


def take_chunk(session: Session) -> Snapshot:
    """One chunk of test images of every kind that an evaluation looks at; it stays in the snapshot."""
    snapshot = session.snapshot()
    for split, inputs, _ in evaluated(snapshot, session.config.evaluation):
        if split == "test":
            snapshot.view(split, inputs)
    return snapshot


def made_up_data(shape: DataShape, batch: int, chunk: int, device: torch.device) -> Dataset:
    """Random images of a run's shape: a batch to train on, and a chunk of each of the other splits that it has."""
    splits = {}
    for name, size in shape.sizes.items():
        if size:
            n = batch if name == "train" else chunk
            x = torch.randint(256, (n, *shape.shape), dtype=torch.uint8, device=device)
            y: Tensor = torch.arange(n, device=device) % shape.n_classes
            clean = torch.zeros(n, dtype=torch.bool, device=device)
            splits[name] = Split(name, x, y, y.clone(), clean, torch.arange(n, device=device))
    c = shape.shape[0]
    return Dataset("made-up images", splits, tuple(map(str, range(shape.n_classes))), (0.0,) * c, (1.0,) * c)
