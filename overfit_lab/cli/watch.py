"""`overfit-lab watch`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from overfit_lab.cli.source import LEAST_DROP, LeastDropOption
from overfit_lab.errors import ConfigError
from overfit_lab.files.escape import for_terminal
from overfit_lab.files.terminal import say

if TYPE_CHECKING:
    from rich.console import Console

    from overfit_lab.views.live.runs_below import Watched
    from overfit_lab.views.live.view import View

ONSET = 3
HELP = "q ends; n and p, or the arrows, show another run"


def watch(
    folder: Annotated[Path, typer.Argument(help="A run folder, or a folder of runs such as a sweep's.")],
    name: Annotated[str | None, typer.Option("--run", metavar="NAME", help="Which of several runs in detail.")] = None,
    every: Annotated[float, typer.Option("--every", metavar="SECONDS", help="Seconds between looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print one view and exit.")] = False,
    bell: Annotated[bool, typer.Option("--bell", help="Ring when robust overfitting is detected.")] = False,
    least_drop: LeastDropOption = LEAST_DROP,
    exit_on_onset: Annotated[
        bool, typer.Option("--exit-on-onset", help="Exit with status 3 when robust overfitting is detected.")
    ] = False,
) -> None:
    """Watch a run that is being trained: curves so far, and an alert when it overfits robustly.

    Nothing is written. It ends by itself when every run has ended; Ctrl-C ends it with status 130, q with 0. Where
    stdout is no terminal there is a line for each epoch.
    """
    if not 0.05 <= every <= 86400:
        raise ConfigError(f"--every {every:g}: expected seconds from 0.05 to 86400")
    from overfit_lab.cli.console import LiteralConsole
    from overfit_lab.views.live.runs_below import Watched

    watched, console = Watched(folder, least_drop / 100), LiteralConsole()
    views = watched.look()
    first = _index(views, name)
    name = name if name is None else views[first].name
    if once:
        _print(views, _index(views, name), console)
    elif console.is_terminal:
        views = _show(watched, name, every, console, bell=bell, exit_on_onset=exit_on_onset)
    else:
        views = _tell(watched, name, every, bell=bell, exit_on_onset=exit_on_onset)
    if exit_on_onset and any(view.alert for view in views):
        raise typer.Exit(ONSET)


def _index(views: Sequence[View], name: str | None) -> int:
    """Index of the run of that name (a cell's hash may be left out); without a name the first running run, else 0."""
    names = [view.name for view in views]
    if name is None:
        return next((i for i, view in enumerate(views) if view.status == "running"), 0)
    cells = [other for other in names if other.rpartition("-")[0] == name]
    if name not in names and len(cells) == 1:
        return names.index(cells[0])
    if name not in names:
        from overfit_lab.errors import unknown_name

        raise unknown_name("run", name, names)
    return names.index(name)


def _has_ended(watched: Watched, views: Sequence[View]) -> bool:
    """Whether every run has ended and no sweep will begin another."""
    begun = [view for view in views if view.status != "not begun"]
    return bool(begun) and all(view.ended for view in begun) and (len(begun) == len(views) or not watched.is_live)


def _print(views: Sequence[View], chosen: int, console: Console) -> None:
    from overfit_lab.cli.screen import draw

    console.print(draw(views, chosen, console))


def _show(
    watched: Watched, name: str | None, every: float, console: Console, *, bell: bool, exit_on_onset: bool
) -> list[View]:
    """On a terminal: redraw the screen at each look and each key; leave the last view."""
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from overfit_lab.cli.keys import keys
    from overfit_lab.cli.screen import draw

    alerted: set[str] = set()
    views: list[View] = []
    with keys() as wait, Live(console=console, screen=True, auto_refresh=False) as live:
        views = watched.look()
        due = time.monotonic() + every
        while True:
            chosen = _index(views, name)
            screen = draw(views, chosen, console, rows=console.height - 1)
            live.update(Group(screen, Text(HELP, style="dim", no_wrap=True, overflow="crop")), refresh=True)
            alerts = {view.name for view in views if view.alert}
            if bell and alerts - alerted:
                console.bell()
            alerted |= alerts
            if _has_ended(watched, views) or (exit_on_onset and alerts):
                break
            key = wait(max(0.0, due - time.monotonic()))
            if key == "q":
                break
            if key in ("n", "p"):
                name = views[(chosen + (1 if key == "n" else -1)) % len(views)].name
            if time.monotonic() >= due:
                views = watched.look()
                due = time.monotonic() + every
    _print(views, _index(views, name), console)
    return views


def _tell(watched: Watched, name: str | None, every: float, *, bell: bool, exit_on_onset: bool) -> list[View]:
    """Without a terminal: print a line for each epoch, change of status and alert, of all runs or the one named."""
    known: dict[str, View] = {}
    while True:
        views = watched.look()
        wanted = [view for view in views if name in (None, view.name)]
        for view in wanted:
            for line in lines(known.get(view.name), view):
                say(line)
            if bell and view.alert and not getattr(known.get(view.name), "alert", None):
                print("\a", end="", file=sys.stderr, flush=True)
            known[view.name] = view
        sys.stdout.flush()
        if _has_ended(watched, wanted) or (exit_on_onset and any(view.alert for view in wanted)):
            return wanted
        time.sleep(every)


def lines(before: View | None, view: View) -> list[str]:
    """Lines on what changed in a run since an earlier look; at the first look the last epoch alone."""
    from overfit_lab.cli.screen import alert_line

    news = []
    first = view.epoch if before is None else before.epoch + 1
    for epoch in range(max(first, 1), view.epoch + 1):
        parts = [f"epoch {epoch}/{view.n_epochs or '?'}"]
        for curve in view.curves:
            for value in curve.series.values[curve.series.epochs == epoch]:
                parts.append(f"{curve.title} {value:{'.1%' if curve.is_share else '.4g'}}")
        news.append(", ".join(parts))
    if view.alert is not None and (before is None or before.alert is None):
        news.append(alert_line(view))
    if before is None or view.status != before.status:
        news.append(view.status if not view.stage or view.status != "failed" else f"{view.status}: {view.stage}")
    return [for_terminal(f"{view.name}: {line}") for line in news]
