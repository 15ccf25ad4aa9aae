"""Progress of training on stderr: a bar with an ETA on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time

from rich.progress import TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from overfit_lab.cli.jobs import ETA, Bars, new_bar
from overfit_lab.files.terminal import say
from overfit_lab.training.evaluation import find_value
from overfit_lab.training.events import EpochEnded, EventBus, RunStarted, StepEnded
from overfit_lab.training.subjects import data_line

LINES = 10


class TrainingProgress(Bars):
    """Shows the progress of a run from its events, in a ``with`` block.

    Args:
        name: of the run.
    """

    def __init__(self, name: str) -> None:
        self.run = self.name = name
        self._task: TaskID | None = None
        self._status = ""
        self._started = time.monotonic()
        self._first = 0
        epochs = TextColumn("epoch {task.completed:.0f}/{task.total:.0f}")
        self._bar = new_bar(epochs, TimeElapsedColumn(), ETA, TimeRemainingColumn(elapsed_when_finished=False))

    def follow(self, name: str, kind: str = "teacher") -> EventBus:
        """An event bus for another training, such as a teacher's, shown under its own name."""
        bus = EventBus()
        self.subscribe(bus, f"{self.run}, {kind} {name}")
        return bus

    def follow_prior(self, name: str) -> EventBus:
        """As :meth:`follow`, for the training of a prior."""
        return self.follow(name, "prior")

    def subscribe(self, bus: EventBus, name: str | None = None) -> None:
        """Listen to a run and show it under ``name``, by default that of the constructor."""
        bus.on(RunStarted, lambda event: self._run_started(event, name or self.run))
        bus.on(StepEnded, self._step_ended)
        bus.on(EpochEnded, self._epoch_ended)

    def _run_started(self, event: RunStarted, name: str) -> None:
        clock = event.snapshot.clock
        say(f"{name}: {data_line(event.snapshot.data.describe())}", err=True)
        self.name, self._status = name, ""
        self._first, self._started = clock.epoch, time.monotonic()
        if self._bar is not None:
            self._task = self._bar.add_task(self.name, total=clock.n_epochs, completed=clock.epoch, status="")

    def _step_ended(self, event: StepEnded) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=event.clock.progress)

    def _epoch_ended(self, event: EpochEnded) -> None:
        clock = event.snapshot.clock
        self._status = describe(event) or self._status
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=clock.epoch, status=self._status)
        elif clock.epoch % max(1, clock.n_epochs // LINES) == 0 or event.is_last:
            done = clock.epoch - self._first
            left = (time.monotonic() - self._started) / done * (clock.n_epochs - clock.epoch)
            parts = [f"{self.name}: epoch {clock.epoch}/{clock.n_epochs}", self._status, f"{left:.0f} s left"]
            say(", ".join(part for part in parts if part), err=True)


def describe(event: EpochEnded) -> str:
    """The epoch's loss, learning rate and accuracies in a few words; "" where it was not evaluated."""
    values = event.values
    shown = []
    for field, split, name in (("acc_clean", "test", "clean"), ("acc_adv", "test", "robust")):
        value = find_value(values, field, split)
        if value is not None:
            shown.append(f"{name} test {value:.1%}")
    loss, lr = find_value(values, "loss", "train"), find_value(values, "lr", "")
    if not shown or loss is None or lr is None:
        return ""
    return ", ".join([f"loss {loss:.3f}", f"lr {lr:g}", *shown])
