"""A look at runs as rich draws it. Every text of a run is drawn as text, never as markup or as control characters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from overfit_lab.cli.jobs import duration
from overfit_lab.cli.plots import columns_of, plot
from overfit_lab.views.diagnosis.words import overfitting_of
from overfit_lab.views.live.view import Curve, View

TWO_COLUMNS = 110
"""Characters from which on two curves stand side by side."""
LABEL = 8
"""Characters of the labels beside a curve."""
MARKS = "d decay of the learning rate, b best, o onset; accuracies have one scale"
COLOURS = {
    "running": "cyan",
    "completed": "green",
    "interrupted": "yellow",
    "stopped": "yellow",
    "failed": "red",
    "not begun": "dim",
}


def plain(text: str) -> str:
    r"""Text without control, bidirectional and other unprintable characters; those become question marks.

    Example:
        >>> plain("run\x1b[2J\u202e!")
        'run?[2J?!'
    """
    return "".join(c if c.isprintable() else "?" for c in text)


def draw(views: Sequence[View], chosen: int, console: Console, *, rows: int | None = None) -> RenderableType:
    """Everything: a line a run where there are several, and one of them in detail.

    Args:
        views: one look.
        chosen: which one is shown in detail.
        console: what is drawn for.
        rows: lines that there are; None for as many as it takes.
    """
    parts: list[RenderableType] = []
    if len(views) > 1:
        shown = max(3, rows // 3) if rows is not None else len(views)
        parts.append(_list(views, chosen, shown))
        rows = rows - min(shown, len(views)) - 3 if rows is not None else None
    parts.append(_detail(views[chosen], console, rows))
    return Group(*parts)


def _list(views: Sequence[View], chosen: int, shown: int) -> RenderableType:
    """A line for each run; of many those around the chosen one."""
    begin = max(0, min(chosen - shown // 2, len(views) - shown))
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("")
    table.add_column("run", no_wrap=True, overflow="ellipsis", ratio=1)
    for name in ("status", "epoch", "accuracy", "best", "since", ""):
        table.add_column(name, no_wrap=True, justify="right" if name != "status" else "left")
    for i, view in enumerate(views[begin : begin + shown], start=begin):
        best = view.best
        numbers = (
            ("", "", "") if best is None else (_percent(view.now), _percent(best.value), f"{-100 * view.lost:+.1f}")
        )
        table.add_row(
            ">" if i == chosen else "",
            Text(plain(view.name), style="bold" if i == chosen else ""),
            _status(view),
            f"{view.epoch}/{view.n_epochs or '?'}" if view.status != "not begun" else "",
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
    curves = _curves(view, width // n_columns - 2, height, ascii_only=_ascii_only(console))
    if curves:
        grid = Table.grid(padding=(0, 2), expand=False)
        for i in range(0, len(curves), n_columns):
            grid.add_row(*curves[i : i + n_columns])
        parts.append(grid)
        parts.append(Text(MARKS, style="dim", no_wrap=True, overflow="crop"))
    return Group(*parts)


def _ascii_only(console: Console) -> bool:
    return console.options.ascii_only


def _status(view: View) -> Text:
    return Text(plain(view.status), style=COLOURS.get(view.status, ""))


def _headline(view: View) -> Text:
    line = Text.assemble((plain(view.name), "bold"), "  ", _status(view))
    if view.status != "not begun":
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
        lines.append(Text(plain(view.stage)))
    for inputs, name in (("clean", "clean"), ("adversarial", "robust")):
        found = [f"{s} {_percent(view.accuracies[inputs, s])}" for s in SPLITS if (inputs, s) in view.accuracies]
        if found:
            lines.append(Text(f"{name + ' accuracy':15} {'  '.join(found)}"))
    if view.best is not None:
        lines.append(Text(best_line(view)))
    if view.ended and view.phases is not None:
        verdict = overfitting_of(view.judged) if view.phases.overfits == 1 else view.phases.verdict
        lines.append(Text(f"tests at the last epoch: {verdict}"))
    return lines


SPLITS = ("train", "val", "test")


def best_line(view: View) -> str:
    """The best so far and what was lost since, in a sentence."""
    best = view.best
    assert best is not None
    since = f"{100 * view.lost:.1f} points lost since" if view.lost > 0 else "now"
    return f"best {best.what} {best.split} accuracy {_percent(best.value)} at epoch {best.epoch}, {since}"


def alert_line(view: View) -> str:
    """What the alarm found, in a sentence."""
    alert = view.alert
    assert alert is not None
    onset, fall = alert.onset, alert.fall
    interval = f"epoch {onset.epoch:g} (95% interval {onset.low:g} to {onset.high:g})"
    lost = f"{100 * fall.loss:.1f} +- {100 * fall.stderr:.1f} points below its peak at epoch {fall.peak_epoch:g}"
    seen = f"{overfitting_of(view.judged)}, seen at epoch {alert.epoch}"
    return f"{seen}: the gap grows since {interval}; test accuracy was {lost} by then"


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
    lines = plot(
        series.epochs,
        series.values,
        width=size,
        height=height,
        x_range=x_range,
        y_range=between,
        ascii_only=ascii_only,
    )
    now = series.values[-1]
    text = Text(no_wrap=True, overflow="crop")
    text.append(f"{curve.title}, now {_label(now, curve)}\n", style="bold")
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
    axis = Text(("+" if ascii_only else "└") + ("-" if ascii_only else "─") * max(0, size - len(str(int(x_range[1])))))
    marks = [(decay, "d", "yellow") for decay in view.decays]
    if view.best is not None:
        marks.append((float(view.best.epoch), "b", "green"))
    if view.alert is not None:
        marks.append((view.alert.onset.epoch, "o", "bold red"))
    characters = list(axis.plain)
    styled: list[tuple[int, str]] = []
    for epoch, letter, style in marks:
        at = 1 + int(columns_of(np.array([epoch]), size, x_range)[0])
        if epoch <= x_range[1] and at < len(characters):
            characters[at] = letter
            styled.append((at, style))
    axis = Text("".join(characters), style="dim")
    for at, style in styled:
        axis.stylize(style, at, at + 1)
    return axis


def _label(value: float, curve: Curve) -> str:
    """At most ``LABEL`` characters for numbers from 1e-99 to 1e99."""
    if curve.is_share:
        return _percent(value)
    return f"{value:.0f}" if 1e3 <= abs(value) < 1e7 else f"{value:.3g}"
