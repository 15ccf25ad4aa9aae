"""Probes that listen to training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from overfit_lab.probes.base import Failure, Probe, attempt, run_probe
from overfit_lab.processes.world import ALONE, World
from overfit_lab.training.events import EpochEnded, EventBus
from overfit_lab.types import Clock, Measurement

Sink = Callable[[str, Measurement, Clock, float], None]
"""Takes a probe's name, what it measured, the moment, and the seconds that it took."""
OnFailure = Callable[[str, str, Clock], None]
"""Takes the name of a probe that failed, the reason in one line, and the moment."""
Prepare = Callable[[EpochEnded], tuple[Sequence[Probe], int]]


@dataclass
class LiveProbes:
    """Runs probes at the end of every k-th epoch and of the last one, and hands on what they measure.

    Second weights are measured beside the raw ones, as ``PROBE@NAME``. A probe that raises ends nothing: it is handed
    on as failed, and tried again when it is due again.

    Args:
        on_failure: takes the probes that raise; None: their errors go on to the caller.
        prepare: gives the probes in place of the first ones, with other sizes, and the epochs between measurements,
            when they are due for the first time.
        world: the processes of the run: each makes its part of the inputs, and each probe is measured by one of them.
    """

    probes: list[Probe]
    every: int
    sink: Sink
    on_failure: OnFailure | None = None
    prepare: Prepare | None = None
    world: World = ALONE

    def subscribe(self, bus: EventBus) -> None:
        """Listen to the ends of epochs."""
        if self.probes:
            bus.on(EpochEnded, self.on_epoch)

    def on_epoch(self, event: EpochEnded) -> None:
        """Measure, where this epoch is due."""
        clock = event.snapshot.clock
        if not event.is_last and clock.epoch % self.every:
            return
        if self.prepare is not None:
            prepare = self.prepare
            probes, self.every = self.world.run_on_rank(0, lambda: prepare(event))
            self.probes, self.prepare = list(probes), None
        self.world.broadcast(None)  # the first process has written what a probe may read of the run
        snapshots = (event.snapshot, *(second.snapshot for second in event.seconds))
        work = [(snapshot, probe) for snapshot in snapshots for probe in self.probes]
        tolerant = self.on_failure is not None
        for snapshot, probe in work:
            # What is amiss with inputs comes up again where the probe that needs them is measured.
            attempt(lambda: snapshot.make_together(probe.made_first(snapshot), self.world), tolerant=tolerant)  # noqa: B023
        tasks = [partial(attempt, partial(run_probe, probe, snapshot), tolerant=tolerant) for snapshot, probe in work]
        for (snapshot, probe), result in zip(work, self.world.distribute(tasks), strict=True):
            name = snapshot.name_of(probe.name)
            if isinstance(result, Failure):
                assert self.on_failure is not None
                self.on_failure(name, result.reason, clock)
            else:
                measurement, seconds = result
                self.sink(name, measurement, clock, seconds)
