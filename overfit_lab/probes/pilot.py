"""What probes cost on a snapshot, from two small measurements that leave no trace."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from overfit_lab.errors import ProbeError
from overfit_lab.probes.base import Probe, attempt, run_probe
from overfit_lab.probes.plan import FLOOR, Cost, Demand, Inputs, plan_sizes, seconds_at
from overfit_lab.probes.snapshot import Made, Snapshot
from overfit_lab.processes.world import ALONE, World

Timer = Callable[[], float]
FEW, MORE = 16, FLOOR
"""Samples of the two pilot measurements."""


@dataclass(frozen=True)
class Choice:
    """Sizes that keep probing within a budget, and what they were chosen from.

    Args:
        seconds: what one measurement may take, after the pilot is paid.
        expected: what the model says it takes.
        n_measurements: how many times the probes can run so.
    """

    sizes: dict[str, int]
    seconds: float
    expected: float
    pilot_seconds: float
    n_measurements: int


class BudgetTooSmallError(ProbeError):
    """Not even the fewest meaningful samples fit; ``least`` are the seconds in all that would do."""

    def __init__(self, message: str, least: float) -> None:
        super().__init__(message)
        self.least = least


class WatchedSnapshot(Snapshot):
    """A snapshot whose own chunk is small and that takes the time of making inputs, apart from that of probes."""

    making: dict[tuple[str, str], float]
    seen: dict[str, None]
    timer: Timer

    def _made(self, split: str, inputs: str, n: int, world: World = ALONE) -> Made:
        self.seen[f"{split}/{inputs}"] = None
        return super()._made(split, inputs, n, world)

    def _make(self, split: str, inputs: str, i: int) -> tuple[Tensor, Tensor]:
        start = _now(self)
        made = super()._make(split, inputs, i)
        self.making[split, inputs] = self.making.get((split, inputs), 0.0) + _now(self) - start
        return made


def choose_sizes(
    probes: Sequence[Probe],
    snapshot: Snapshot,
    seconds: float,
    *,
    n_measurements: int,
    fewest: int | None = None,
    caps: dict[str, int] | None = None,
) -> Choice:
    """Measure a pilot and choose how many samples each probe gets, the pilot paid from the same ``seconds``.

    The probes' own ``n`` does not matter. They will run ``n_measurements`` times, or as few as ``fewest`` where the
    floor does not fit otherwise; ``caps`` are most samples by probe, by default the largest split that it looks at.

    Raises:
        BudgetTooSmallError: the floor does not fit.
        ProbeError: the snapshot lacks what a probe needs.

    Cost: each probe at 16 samples twice, the first time to warm up, and at 64 once, with the inputs of those samples.
    """
    began = time.perf_counter()
    demands, inputs = measure_costs(probes, snapshot, caps or {}, time.perf_counter)
    pilot = time.perf_counter() - began
    each = (seconds - pilot) / n_measurements
    sizes = plan_sizes(demands, inputs, each)
    floor = seconds_at(demands, inputs, FLOOR)
    if sizes is None and fewest is not None and each > 0 and (seconds - pilot) // floor >= fewest:
        n_measurements = int((seconds - pilot) // floor)
        each = (seconds - pilot) / n_measurements
        sizes = plan_sizes(demands, inputs, each)
    if sizes is None:
        n_measurements = n_measurements if fewest is None else fewest
        least = pilot + floor * n_measurements
        raise BudgetTooSmallError(
            f"{FLOOR} samples need {least:.3g} s (pilot {pilot:.3g} s, {n_measurements} x {floor:.3g} s), "
            f"the budget is {seconds:.3g} s",
            least,
        )
    top = max(sizes.values(), default=0)
    return Choice(sizes, each, seconds_at(demands, inputs, top), pilot, n_measurements)


def measure_costs(
    probes: Sequence[Probe], snapshot: Snapshot, caps: dict[str, int], timer: Timer
) -> tuple[list[Demand], dict[str, Inputs]]:
    """The cost of each probe and of each kind of inputs, as lines in the number of samples."""
    _readings(probes, snapshot, FEW, timer)
    few, few_made = _readings(probes, snapshot, FEW, timer)
    more, more_made = _readings(probes, snapshot, MORE, timer)
    inputs: dict[str, Inputs] = {}
    demands = []
    for split, kind in more_made:
        size = len(snapshot.data.splits[split])
        line = Cost.through(
            (min(FEW, size), few_made.get((split, kind), 0.0)), (min(MORE, size), more_made[split, kind])
        )
        inputs[f"{split}/{kind}"] = Inputs(line, snapshot.chunk, size)
    for probe in probes:
        (t, _), (u, seen) = few[probe.name], more[probe.name]
        largest = max((inputs[name].size for name in seen), default=MORE)
        cap = min(caps.get(probe.name, largest), largest)
        line = Cost.through((min(FEW, largest), t), (min(MORE, largest), u))
        demands.append(Demand(probe.name, line, cap, seen))
    return demands, inputs


Reading = tuple[float, tuple[str, ...]]
"""A probe's own seconds, and the inputs that it looked at."""


def _readings(
    probes: Sequence[Probe], snapshot: Snapshot, n: int, timer: Timer
) -> tuple[dict[str, Reading], dict[tuple[str, str], float]]:
    """The reading of each probe at n samples, and the seconds of making each kind of inputs."""
    watched = WatchedSnapshot.like(snapshot, chunk=n, making={}, seen={}, timer=timer)
    readings: dict[str, Reading] = {}
    for probe in probes:
        small = type(probe)(probe.options.model_copy(update={"n": n}))
        watched.seen = {}
        before, start = sum(watched.making.values()), _now(watched)
        small.check(watched)
        attempt(partial(run_probe, small, watched))  # one that fails costs nothing, and is met where it is measured
        seconds = _now(watched) - start - (sum(watched.making.values()) - before)
        readings[probe.name] = (max(0.0, seconds), tuple(watched.seen))
    return readings, watched.making


def _now(snapshot: WatchedSnapshot) -> float:
    """The time when everything that the device was given is done."""
    if snapshot.device.type == "cuda":
        torch.cuda.synchronize(snapshot.device)
    return snapshot.timer()
