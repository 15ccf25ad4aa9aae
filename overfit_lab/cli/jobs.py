"""Progress of several runs at once on stderr, for the demo and for sweeps."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from overfit_lab.processes.pool import Watcher

WIDTH = 24


class Bars:
    """Shows its bars inside a ``with`` block, where it has any."""

    _bar: Progress | None = None

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()


class Estimate:
    """The time that is left for a number of jobs, from what was done of them since the beginning.

    A job that is resumed reports a share above 0 first; that part is not counted as done in this time.

    Args:
        n_jobs: jobs to do.

    Example:
        >>> estimate = Estimate(2)
        >>> estimate.reported("a", 0.5)
        >>> estimate.reported("a", 0.75)
        >>> estimate.seconds_left(10.0)  # a quarter of a job in ten seconds, five quarters to go
        50.0
    """

    def __init__(self, n_jobs: int) -> None:
        self.n_jobs = n_jobs
        self._first: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def reported(self, name: str, share: float) -> None:
        """A job has done a share of its work."""
        self._first.setdefault(name, share)
        self._last[name] = share

    def ended(self, name: str) -> None:
        """A job is done, or takes no more time because it failed."""
        self._first.setdefault(name, 0.0)
        self._last[name] = 1.0

    def share(self) -> float:
        """The share of all the work that is done, in [0, 1]."""
        return sum(self._last.values()) / self.n_jobs if self.n_jobs else 1.0

    def seconds_left(self, elapsed: float) -> float | None:
        """What is left if it goes on as it went; None as long as nothing was done."""
        done = sum(self._last[name] - self._first[name] for name in self._last)
        return elapsed / done * (self.n_jobs - sum(self._last.values())) if done > 0 else None


class RunsProgress(Watcher, Bars):
    """Where several runs stand: bars on a terminal, elsewhere a line for each that ends; use it in a ``with`` block.

    Args:
        n_runs: all of them.
        n_passed_over: those that were completed before.
    """

    def __init__(self, n_runs: int, n_passed_over: int = 0) -> None:
        self._n_runs, self._n_ended = n_runs, n_passed_over
        self._estimate = Estimate(n_runs - n_passed_over)
        self._started = time.monotonic()
        self._tasks: dict[str, TaskID] = {}
        if sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=WIDTH),
                TextColumn("{task.percentage:3.0f}%"),
                TimeElapsedColumn(),
                TextColumn("{task.fields[status]}"),
                console=Console(stderr=True),
            )
            self._all = self._bar.add_task("all runs", total=1.0, status=self._standing())

    def started(self, name: str) -> None:
        """A run begins or is resumed."""
        if self._bar is not None:
            self._tasks[name] = self._bar.add_task(f"  {name}", total=1.0, status="starting")

    def progressed(self, name: str, share: float, text: str) -> None:
        """A run has done a share of its epochs."""
        self._estimate.reported(name, share)
        if self._bar is not None:
            self._bar.update(self._tasks[name], completed=share, status=text)
            self._show_all()

    def ended(self, name: str, failure: str | None) -> None:
        """A run is done or has failed."""
        self._estimate.ended(name)
        self._n_ended += 1
        if self._bar is not None:
            self._bar.remove_task(self._tasks.pop(name))
            self._show_all()
        else:
            what = "completed" if failure is None else f"failed, {failure}"
            print(f"{name}: {what} ({self._standing()})", file=sys.stderr, flush=True)

    def _show_all(self) -> None:
        if self._bar is not None:
            self._bar.update(self._all, completed=self._estimate.share(), status=self._standing())

    def _standing(self) -> str:
        left = self._estimate.seconds_left(time.monotonic() - self._started)
        standing = f"{self._n_ended} of {self._n_runs}"
        return standing if left is None else f"{standing}, {duration(left)} left"


def duration(seconds: float) -> str:
    """A length of time in the two largest units that it fills.

    Example:
        >>> duration(42), duration(125), duration(7500)
        ('42 s', '2 min 5 s', '2 h 5 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
