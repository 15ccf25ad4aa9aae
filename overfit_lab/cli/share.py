"""Progress of one piece of work on stderr: a bar with an ETA on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from overfit_lab.cli.jobs import WIDTH, Bars, duration

LINE_EVERY = 30.0
"""Seconds between lines where there is no terminal."""


class ShareProgress(Bars):
    """Shows the share of some work that is done; use it in a ``with`` block, and call it as the work goes on.

    Args:
        name: of the work.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._started = self._said = time.monotonic()
        self._first: float | None = None
        if sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=WIDTH),
                TextColumn("{task.percentage:3.0f}%"),
                TimeElapsedColumn(),
                TextColumn("ETA"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[status]}"),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(name, total=1.0, status="")

    def __call__(self, share: float, text: str) -> None:
        """The work stands at a share in [0, 1]; a few words on it."""
        if self._bar is not None:
            self._bar.update(self._task, completed=share, status=text)
            return
        now = time.monotonic()
        if self._first is None:
            self._first = share
        if now - self._said < LINE_EVERY and share < 1.0:
            return
        self._said = now
        line = f"{self.name}: {share:.0%}, {text}"
        done = share - self._first
        if done > 0 and share < 1.0:
            line += f", {duration((now - self._started) / done * (1 - share))} left"
        print(line, file=sys.stderr, flush=True)
