"""How many samples each probe may look at within a number of seconds: arithmetic on a cost model, nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FLOOR = 64
"""Samples below which no number is worth its seconds: an accuracy of 50% is then known to 6 points."""


@dataclass(frozen=True)
class Cost:
    """Seconds as a straight line in the number of samples; ``fixed`` and ``per_sample`` are 0 or more."""

    fixed: float
    per_sample: float

    def seconds(self, n: int) -> float:
        """Seconds for n samples; nothing for none."""
        return self.fixed + self.per_sample * n if n > 0 else 0.0

    @classmethod
    def through(cls, few: tuple[int, float], more: tuple[int, float]) -> Cost:
        """The line through two readings (samples, seconds), as dear as they allow where they contradict a line.

        A reading that did not grow with the samples is noise: all of the larger one then counts as per sample.
        """
        (n, t), (m, u) = few, more
        if m <= n or u <= t:
            return cls(0.0, max(u, t) / max(m, 1))
        slope = (u - t) / (m - n)
        return cls(max(0.0, u - slope * m), slope)


@dataclass(frozen=True)
class Inputs:
    """What making one kind of inputs of a split of ``size`` samples costs; ``cost`` is that of one chunk.

    They are made in whole chunks and shared by the probes.
    """

    cost: Cost
    chunk: int
    size: int

    def seconds(self, n: int) -> float:
        """Seconds for the chunks that hold the first n samples."""
        full, rest = divmod(min(-(-min(n, self.size) // self.chunk) * self.chunk, self.size), self.chunk)
        return full * self.cost.seconds(self.chunk) + self.cost.seconds(rest)


@dataclass(frozen=True)
class Demand:
    """What a probe asks for: its cost, inputs made, the most samples that it may look at, and kinds of inputs."""

    name: str
    cost: Cost
    cap: int
    inputs: tuple[str, ...] = ()


def sizes_at(demands: Sequence[Demand], n: int) -> dict[str, int]:
    """Samples of each probe where the common number is n: that, or its cap."""
    return {demand.name: min(n, demand.cap) for demand in demands}


def seconds_at(demands: Sequence[Demand], inputs: Mapping[str, Inputs], n: int) -> float:
    """Seconds of all probes together at the common number n, inputs made once for the probe that needs most."""
    sizes = sizes_at(demands, n)
    total = sum(demand.cost.seconds(sizes[demand.name]) for demand in demands)
    for name, made in inputs.items():
        total += made.seconds(max((sizes[d.name] for d in demands if name in d.inputs), default=0))
    return total


def plan_sizes(demands: Sequence[Demand], inputs: Mapping[str, Inputs], seconds: float) -> dict[str, int] | None:
    """The most samples for every probe, the same for all up to their caps, within a number of seconds.

    Returns:
        Samples by probe; None where not even the floor fits. Never over the seconds under the model, and never fewer
        for more seconds.
    """
    low, high = FLOOR, max([FLOOR, *(demand.cap for demand in demands)])
    if seconds_at(demands, inputs, low) > seconds:
        return None
    while low < high:
        middle = (low + high + 1) // 2
        if seconds_at(demands, inputs, middle) <= seconds:
            low = middle
        else:
            high = middle - 1
    return sizes_at(demands, low)
