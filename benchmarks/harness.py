"""Timing side by side: contenders take turns in one process, threads pinned, medians; results with their hardware."""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from overfit_lab.records.environment import git_revision, hardware, now, versions


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Args:
        contender: whose figure it is.
        figures: column to number; seconds where nothing else is said.
        note: what a reader must know of it.
    """

    contender: str
    figures: dict[str, float]
    note: str = ""


@dataclass(frozen=True)
class Bar:
    """What was asked for and what was reached."""

    what: str
    reached: float
    asked: float
    more_is_better: bool = True

    @property
    def met(self) -> bool:
        """Whether it is reached."""
        return self.reached >= self.asked if self.more_is_better else self.reached <= self.asked


@dataclass
class Result:
    """What one benchmark found.

    Args:
        title: what was measured, with its sizes.
        rows: the table.
        bars: what they are held against.
    """

    title: str
    rows: list[Row] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"bars": [asdict(bar) | {"met": bar.met} for bar in self.bars]}


def take_turns(contenders: Mapping[str, Callable[[], Any]], rounds: int = 3, *, warm: bool = True) -> dict[str, float]:
    """Median seconds of each contender over rounds in which each has one turn.

    Args:
        contenders: name to what is timed.
        rounds: turns of each.
        warm: one untimed turn each before.
    """
    if warm:
        for run in contenders.values():
            run()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            times[name].append(seconds_of(run))
    return {name: statistics.median(values) for name, values in times.items()}


def seconds_of(run: Callable[[], Any]) -> float:
    """Seconds of one turn, the device's work included."""
    gc.collect()
    _wait()
    start = time.perf_counter()
    run()
    _wait()
    return time.perf_counter() - start


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def matrix_rates(size: int = 1024) -> dict[str, float]:
    """Measured GFLOP/s of square float32 matrix products: ``torch`` (its own) and, on CPU, ``onednn`` (its
    convolutions' library, which may use wider instructions).
    """
    a, b = torch.rand(size, size), torch.rand(size, size)
    runs: dict[str, Callable[[], Any]] = {"torch": lambda: a @ b}
    if torch.backends.mkldnn.is_available():
        packed = a.to_mkldnn(), b.to_mkldnn()
        runs["onednn"] = lambda: torch._C._nn.mkldnn_linear(*packed, None)
    with torch.no_grad():
        times = take_turns(runs, rounds=15)
    return {name: 2 * size**3 / seconds / 1e9 for name, seconds in times.items()}


def save(results: Mapping[str, Result], rates: Mapping[str, float], path: Path) -> None:
    """Results as JSON, with hardware, versions, revision and date."""
    content = {
        "date": now(),
        "revision": git_revision(),
        "hardware": hardware(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
        "versions": versions(),
        "matrix_gflops": dict(rates),
        "benchmarks": {name: result.to_dict() for name, result in results.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
