"""Probes that listen to training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from overfit_lab.probes.base import Probe, run_probe
from overfit_lab.processes.world import ALONE, World
from overfit_lab.training.events import EpochEnded, EventBus
from overfit_lab.types import Clock, Measurement

Sink = Callable[[str, Measurement, Clock, float], None]
"""Takes a probe's name, what it measured, the moment, and the seconds that it took."""
Prepare = Callable[[EpochEnded], tuple[Sequence[Probe], int]]


class LiveProbes:
    """Runs probes at the end of every k-th epoch and of the last one, and hands on what they measure.

    Second weights are measured beside the raw ones, as ``PROBE@NAME``.

    Args:
        prepare: gives the probes in place of the first ones, with other sizes, and the epochs between measurements,
            when they are due for the first time.
        world: the processes of the run: each makes its part of the inputs, and each probe is measured by one of them.
    """

    def __init__(
        self, probes: Sequence[Probe], every: int, sink: Sink, prepare: Prepare | None = None, world: World = ALONE
    ) -> None:
        self.probes = list(probes)
        self.every = every
        self.sink = sink
        self.prepare = prepare
        self.world = world

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
        for snapshot, probe in work:
            snapshot.make_together(probe.made_first(snapshot), self.world)
        tasks = [partial(run_probe, probe, snapshot) for snapshot, probe in work]
        results = self.world.distribute(tasks)
        for (snapshot, probe), (measurement, seconds) in zip(work, results, strict=True):
            self.sink(snapshot.name_of(probe.name), measurement, clock, seconds)
