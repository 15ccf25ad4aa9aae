"""Progress on stderr, of one piece of work or of several runs: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Self

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from overfit_lab.cli.console import LiteralConsole
from overfit_lab.files.terminal import say
from overfit_lab.processes.pool import Watcher

SHARE, ETA = TextColumn("{task.percentage:3.0f}%"), TextColumn("ETA")
LINE_EVERY = 30.0
"""Seconds between lines where there is no terminal."""


def new_bar(*columns: ProgressColumn) -> Progress | None:
    """A progress bar on stderr with these columns between name and status; None without a terminal."""
    if not sys.stderr.isatty():
        return None
    ends = words("{task.description}"), BarColumn(bar_width=24), words("{task.fields[status]}")
    return Progress(*ends[:2], *columns, ends[2], console=LiteralConsole(stderr=True))


def words(form: str) -> TextColumn:
    """A column of text that is shown as it is, without markup."""
    return TextColumn(form, markup=False)


class Bars:
    """Starts and stops its progress bar, if it has one, in a ``with`` block."""

    _bar: Progress | None = None

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()


class Estimate:
    """Estimates the time left for a number of jobs from the work done so far.

    The first share that a job reports does not count as work: a resumed job starts above 0.

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
        """Note the share of a job's work that is done."""
        self._first.setdefault(name, share)
        self._last[name] = share

    def ended(self, name: str) -> None:
        """Note that a job is done or has failed."""
        self._first.setdefault(name, 0.0)
        self._last[name] = 1.0

    def share(self) -> float:
        """The share of all the work that is done, in [0, 1]."""
        return sum(self._last.values()) / self.n_jobs if self.n_jobs else 1.0

    def seconds_left(self, elapsed: float) -> float | None:
        """Seconds left at the same rate; None before any work is done."""
        done = sum(self._last[name] - self._first[name] for name in self._last)
        return elapsed / done * (self.n_jobs - sum(self._last.values())) if done > 0 else None


class RunsProgress(Watcher, Bars):
    """Shows the progress of several runs, in a ``with`` block: bars on a terminal, else a line for each that ends.

    Args:
        n_runs: number of runs, completed ones included.
        n_passed_over: runs that were completed before.
    """

    def __init__(self, n_runs: int, n_passed_over: int = 0) -> None:
        self._n_runs, self._n_ended = n_runs, n_passed_over
        self._estimate = Estimate(n_runs - n_passed_over)
        self._started = time.monotonic()
        self._tasks: dict[str, TaskID] = {}
        self._bar = new_bar(SHARE, TimeElapsedColumn())
        if self._bar is not None:
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
            end = "completed" if failure is None else f"failed, {failure}"
            say(f"{name}: {end} ({self._standing()})", err=True)

    def _show_all(self) -> None:
        if self._bar is not None:
            self._bar.update(self._all, completed=self._estimate.share(), status=self._standing())

    def _standing(self) -> str:
        left = self._estimate.seconds_left(time.monotonic() - self._started)
        standing = f"{self._n_ended} of {self._n_runs}"
        return standing if left is None else f"{standing}, {duration(left)} left"


class ShareProgress(Bars):
    """Shows the progress of one piece of work, in a ``with`` block; call it with the share that is done.

    Args:
        name: of the work.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._started, self._last = time.monotonic(), 0.0
        self._estimate = Estimate(1)
        self._bar = new_bar(SHARE, TimeElapsedColumn(), ETA, TimeRemainingColumn())
        if self._bar is not None:
            self._task = self._bar.add_task(name, total=1.0, status="")

    def __call__(self, share: float, text: str) -> None:
        """Show the share that is done, in [0, 1], and a few words."""
        if self._bar is not None:
            self._bar.update(self._task, completed=share, status=text)
            return
        seconds = time.monotonic() - self._started
        self._estimate.reported(self.name, share)
        if seconds - self._last < LINE_EVERY and share < 1.0:
            return
        self._last = seconds
        line = f"{self.name}: {share:.0%}, {text}"
        left = self._estimate.seconds_left(seconds)
        if left is not None and share < 1.0:
            line += f", {duration(left)} left"
        say(line, err=True)


def duration(seconds: float) -> str:
    """A duration in its two largest units.

    Example:
        >>> duration(42), duration(125), duration(7500)
        ('42 s', '2 min 5 s', '2 h 5 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
