"""One run among many: begun or gone on with in its folder, whoever runs the others."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from overfit_lab.config import RunConfig
from overfit_lab.errors import FolderBusyError
from overfit_lab.processes.pool import GRACE, Report
from overfit_lab.records import layout
from overfit_lab.training.events import EpochEnded, EventBus, RunStarted, StepEnded
from overfit_lab.training.run import train_run
from overfit_lab.types import Clock

REPORT_EVERY = 0.5
"""Seconds between what a cell reports of itself."""


def train_cell(
    config: RunConfig, folder: Path, *, device: str = "auto", sinks: Sequence[str] = (), bus: EventBus | None = None
) -> None:
    """Begin a cell's run, or go on with it from its last checkpoint.

    Args:
        config: complete.
        folder: of the run.
        device: ``auto``, ``cpu`` or ``cuda``.
        sinks: names of what gets the records too.
        bus: events go here; see :func:`reporting`.

    Raises:
        FolderBusyError: another process writes to the folder and does not end.
        KeyboardInterrupt: the run was interrupted; it can be gone on with.
    """
    deadline = time.monotonic() + GRACE
    while True:
        try:
            status = train_run(
                config,
                folder,
                resume=layout.is_run(folder),
                device=device,
                bus=bus,
                sinks=sinks,
                on_note=lambda text: print(f"overfit-lab: cell {folder.name}: {text}", file=sys.stderr, flush=True),
            )
            break
        except FolderBusyError:  # a process that was killed, or told to stop, has not yet ended
            if time.monotonic() > deadline:
                raise
            time.sleep(REPORT_EVERY)
    if status == "interrupted":
        raise KeyboardInterrupt


def reporting(report: Report, n_epochs: int) -> EventBus:
    """A bus whose run reports where it stands, not too often."""
    last = 0.0

    def tell(clock: Clock) -> None:
        nonlocal last
        last = time.monotonic()
        report(clock.progress / n_epochs, f"epoch {min(clock.epoch + 1, n_epochs)}/{n_epochs}")

    def step_ended(event: StepEnded) -> None:
        if time.monotonic() - last > REPORT_EVERY:
            tell(event.clock)

    bus = EventBus()
    bus.on(RunStarted, lambda event: tell(event.snapshot.clock))
    bus.on(StepEnded, step_ended)
    bus.on(EpochEnded, lambda event: tell(event.snapshot.clock))
    return bus
