"""Draws views of runs with rich. Text from a run is never read as markup or control characters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from overfit_lab.cli.jobs import duration
from overfit_lab.cli.plots import columns_of, plot
from overfit_lab.files.escape import for_terminal
from overfit_lab.views.diagnosis.words import overfitting_of
from overfit_lab.views.live.view import Curve, View

SPLITS = ("train", "val", "test")
TWO_COLUMNS = 110
"""Width in characters from which two curves stand side by side."""
LABEL = 8
"""Characters of the labels beside a curve."""
NARROWEST = LABEL + 5
"""Characters below which a terminal shows no curves."""
MARKS = "d decay of the learning rate, b best, o onset; accuracies have one scale"
COLOURS = {
    "running": "cyan",
    "completed": "green",
    "interrupted": "yellow",
    "stopped": "yellow",
    "failed": "red",
    "diverged": "red",
    "not begun": "dim",
}


def draw(views: Sequence[View], chosen: int, console: Console, *, rows: int | None = None) -> RenderableType:
    """One run in detail, below a list of all runs if there are several.

    Args:
        views: of all runs.
        chosen: which one is shown in detail.
        console: that it is drawn on.
        rows: lines that fit; None for no limit.
    """
    parts: list[RenderableType] = []
    if len(views) > 1:
        shown = max(3, rows // 3) if rows is not None else len(views)
        parts.append(_list(views, chosen, shown))
        rows = rows - min(shown, len(views)) - 3 if rows is not None else None
    parts.append(_detail(views[chosen], console, rows))
    return Group(*parts)


def _list(views: Sequence[View], chosen: int, shown: int) -> RenderableType:
    """A line for each run; if they do not fit, those around the chosen one."""
    begin = max(0, min(chosen - shown // 2, len(views) - shown))
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("")
    table.add_column("run", no_wrap=True, overflow="ellipsis", ratio=1)
    for name in ("status", "epoch", "accuracy", "best", "since", ""):
        table.add_column(name, no_wrap=True, justify="right" if name != "status" else "left")
    for i, view in enumerate(views[begin : begin + shown], start=begin):
        best = view.best
        numbers = (
            ("", "", "") if best is None else (_percent(view.latest), _percent(best.value), f"{-100 * view.lost:+.1f}")
        )
        table.add_row(
            ">" if i == chosen else "",
            Text(for_terminal(view.name), style="bold" if i == chosen else ""),
            _status(view),
            f"{view.epoch}/{view.n_epochs or '?'}" if view.has_epochs else "",
            *numbers,
            Text("overfits" if view.alert else "", style="bold red"),
        )
    hidden = len(views) - min(shown, len(views))
    return Group(table, Text(f"  and {hidden} more" if hidden else "", style="dim"))


def _detail(view: View, console: Console, rows: int | None) -> RenderableType:
    parts: list[RenderableType] = [_headline(view), *_facts(view)]
    if view.alert is not None:
        parts.append(_alert(view))
    width = console.width
    n_columns = 2 if width >= TWO_COLUMNS and len(view.curves) > 1 else 1
    height = 4
    if rows is not None and view.curves:
        n_rows = -(-len(view.curves) // n_columns)
        used = sum(len(console.render_lines(part, pad=False)) for part in parts) + 1
        height = max(2, min(10, (rows - used) // n_rows - 2))
    wide = width // n_columns - 2
    curves = [] if wide < NARROWEST else _curves(view, wide, height, ascii_only=console.options.ascii_only)
    if curves:
        grid = Table.grid(padding=(0, 2), expand=False)
        for i in range(0, len(curves), n_columns):
            grid.add_row(*curves[i : i + n_columns])
        parts.append(grid)
        parts.append(Text(MARKS, style="dim", no_wrap=True, overflow="crop"))
    return Group(*parts)


def _status(view: View) -> Text:
    return Text(for_terminal(view.status), style=COLOURS.get(view.status, ""))


def _headline(view: View) -> Text:
    line = Text.assemble((for_terminal(view.name), "bold"), "  ", _status(view))
    if view.has_epochs:
        line.append(f"  epoch {view.epoch}/{view.n_epochs or '?'}")
    if view.seconds_left is not None:
        line.append(f"  {duration(view.seconds_left)} left")
    return line


def _facts(view: View) -> list[Text]:
    lines = []
    if view.silent is not None:
        held = "" if view.status == "running" else "; no process on this machine holds the run, was it killed?"
        lines.append(Text(f"no news for {duration(view.silent)}{held}", style="yellow"))
    if view.lr is not None:
        lines.append(Text(f"learning rate {view.lr:g}; {view.stage}"))
    elif view.stage:
        lines.append(Text(for_terminal(view.stage)))
    for inputs, name in (("clean", "clean"), ("adversarial", "robust")):
        splits = [f"{s} {_percent(view.accuracies[inputs, s])}" for s in SPLITS if (inputs, s) in view.accuracies]
        if splits:
            lines.append(Text(f"{name + ' accuracy':15} {'  '.join(splits)}"))
    if view.best is not None:
        lines.append(Text(best_line(view)))
    if view.ended and view.phases is not None:
        verdict = overfitting_of(view.judged) if view.phases.overfits == 1 else view.phases.verdict
        lines.append(Text(f"tests at the last epoch: {verdict}"))
    return lines


def best_line(view: View) -> str:
    """A sentence on the best accuracy so far and the loss since."""
    best = view.best
    assert best is not None
    since = f"{100 * view.lost:.1f} points lost since" if view.lost > 0 else "now"
    return f"best {best.what} {best.split} accuracy {_percent(best.value)} at epoch {best.epoch}, {since}"


def alert_line(view: View) -> str:
    """A sentence on what the alarm detected."""
    alert = view.alert
    assert alert is not None
    if (collapse := alert.phases.collapse) is not None:
        return (
            f"catastrophic overfitting, seen at epoch {alert.epoch}: robust test accuracy collapsed from "
            f"{_percent(collapse.accuracy)} at epoch {collapse.before:g} to {_percent(collapse.left)}"
        )
    drop, peak = alert.phases.drop, alert.phases.peak
    assert drop is not None
    assert peak is not None
    interval = f"epoch {peak.epoch:g} (95% interval {peak.low:g} to {peak.high:g})"
    points = f"{100 * drop.value:.1f} points (95% interval {100 * drop.low:.1f} to {100 * drop.high:.1f})"
    seen = f"{overfitting_of(view.judged)}, seen at epoch {alert.epoch}"
    return f"{seen}: test accuracy falls from {interval} on, by {points} by then, and the gap widens"


def _alert(view: View) -> RenderableType:
    text = alert_line(view)
    return Panel(Text(text[0].upper() + text[1:]), border_style="bold red", expand=True)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _curves(view: View, width: int, height: int, *, ascii_only: bool) -> list[RenderableType]:
    """Every curve with its title, labels and axis; accuracies share one scale."""
    last = max([view.n_epochs or 0, view.epoch, 2])
    common = _range([curve for curve in view.curves if curve.is_share], last)
    return [
        _curve(curve, view, common if curve.is_share else _range([curve], last), width, height, last, ascii_only)
        for curve in view.curves
    ]


def _range(curves: Sequence[Curve], last: int) -> tuple[float, float]:
    """Lowest and highest value. Those of the first tenth of the epochs count only while there are no later ones."""
    early = last // 10
    parts = [curve.series.values[curve.series.epochs > early] for curve in curves]
    if not any(len(part) for part in parts):
        parts = [curve.series.values for curve in curves]
    values = np.concatenate([*parts, np.zeros(0)])
    return (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)


def _curve(
    curve: Curve, view: View, between: tuple[float, float], width: int, height: int, last: int, ascii_only: bool
) -> Text:
    size = width - LABEL - 1
    series, x_range = curve.series, (1.0, float(last))
    area = {"width": size, "height": height}
    lines = plot(series.epochs, series.values, **area, x_range=x_range, y_range=between, ascii_only=ascii_only)
    text = Text(no_wrap=True, overflow="crop")
    text.append(f"{curve.title}, now {_label(series.values[-1], curve)}\n", style="bold")
    edge = "|" if ascii_only else "│"
    for i, line in enumerate(lines):
        label = between[1] if i == 0 else between[0] if i == len(lines) - 1 else None
        text.append(f"{_label(label, curve) if label is not None else '':>{LABEL}}", style="dim")
        text.append(edge, style="dim")
        text.append(f"{line}\n", style="magenta" if "train" in curve.title else "cyan")
    text.append(f"{'epoch 1':>{LABEL}}")
    text.append(_axis(view, size, x_range, ascii_only))
    text.append(f"{last}"[: LABEL - 1], style="")
    return text


def _axis(view: View, size: int, x_range: tuple[float, float], ascii_only: bool) -> Text:
    """A line with marks: d a decay, o the onset, b the best."""
    corner, line = "+-" if ascii_only else "└─"
    characters = list(corner + line * max(0, size - len(str(int(x_range[1])))))
    marks = [(decay, "d", "yellow") for decay in view.decays]
    if view.best is not None:
        marks.append((float(view.best.epoch), "b", "green"))
    if view.alert is not None:
        marks.append((view.alert.onset, "o", "bold red"))
    styled: list[tuple[int, str]] = []
    for epoch, letter, style in marks:
        column = 1 + int(columns_of(np.array([epoch]), size, x_range)[0])
        if epoch <= x_range[1] and column < len(characters):
            characters[column] = letter
            styled.append((column, style))
    axis = Text("".join(characters), style="dim")
    for column, style in styled:
        axis.stylize(style, column, column + 1)
    return axis


def _label(value: float, curve: Curve) -> str:
    """At most ``LABEL`` characters for numbers from 1e-99 to 1e99."""
    if curve.is_share:
        return _percent(value)
    return f"{value:.0f}" if 1e3 <= abs(value) < 1e7 else f"{value:.3g}"
