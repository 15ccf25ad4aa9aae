"""Pieces that several figures share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from overfit_lab.views.figures.series import Curve

LONGEST_INSIDE = 28
"""Letters of the longest name that a legend within a panel has room for."""
LETTERS_PER_INCH, HANDLE_LETTERS = 17, 6
"""Letters of a legend on an inch, and what the handle and the gap beside a name take of them."""
BAND = 0.18
"""Opacity of a band over seeds."""
NOTE: dict[str, Any] = {"fontsize": 7, "color": "#777777"}
NO_READING = "no finite reading"
MOST_MARKERS = 60
"""A curve of more points is drawn without markers, which would cover it."""


def draw_curve(
    axes: Axes, curve: Curve | None, label: str | None = None, *, band: float = BAND, **line: Any
) -> Line2D | None:
    """A mean curve with its band; where None is all that a panel gets, it says so.

    A reading without a neighbour has a marker, since a line of one point is not seen.
    """
    if curve is None:
        if not axes.get_lines():
            note_no_reading(axes)
        return None
    for note in _notes(axes):
        note.remove()
    marker = line.pop("marker", None)
    alone = _alone(curve.mean)
    if marker is None or len(curve.epoch) > MOST_MARKERS:
        marker, line["markevery"] = ("o", alone.tolist()) if alone.size else (None, None)
    (drawn,) = axes.plot(curve.epoch, curve.mean, label=label, marker=marker, clip_on=marker is None, **line)
    if curve.n_runs > 1:
        axes.fill_between(curve.epoch, curve.low, curve.high, color=drawn.get_color(), alpha=band, linewidth=0)
    return drawn


def _alone(values: np.ndarray) -> np.ndarray:
    """Positions of the finite values that have no finite value on either side."""
    known = np.pad(np.isfinite(values.astype(float)), 1)
    return np.flatnonzero(known[1:-1] & ~known[:-2] & ~known[2:])


def mark_best_and_last(axes: Axes, curve: Curve, color: str) -> None:
    """A hollow diamond where the mean is highest, the first of equal ones, and a dot where it ends."""
    best = int(curve.mean.argmax())
    mark: dict[str, Any] = {"linestyle": "", "color": color, "zorder": 4, "clip_on": False}
    axes.plot(curve.epoch[best], curve.mean[best], marker="D", markerfacecolor="white", **mark)
    axes.plot(curve.epoch[-1], curve.mean[-1], marker="o", **mark)


def legend(figure: Figure, axes: Axes, loc: Literal["best", "upper left", "lower right"]) -> None:
    """The legend of a panel inside it, or above the whole figure where its names are too long for the panel."""
    handles, names = axes.get_legend_handles_labels()
    if max(map(len, names), default=0) <= LONGEST_INSIDE:
        axes.legend(loc=loc)
    else:
        legend_above(figure, handles, names)


def once(panels: Iterable[Axes]) -> tuple[list[Any], list[str]]:
    """Handles and names of the legends of some panels, each name once, in the order in which they come."""
    handles: dict[str, Any] = {}
    for axes in panels:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    return list(handles.values()), list(handles)


def legend_above(figure: Figure, handles: Sequence[Any], names: Sequence[str], most: int = 4, **look: Any) -> None:
    """A legend above the figure in as many columns as its width has room for, ``most`` at most."""
    room = figure.get_figwidth() * LETTERS_PER_INCH
    fitting = (n for n in range(min(most, len(names)), 1, -1) if _letters(names, n) <= room)
    figure.legend(handles, names, loc="outside upper center", ncols=next(fitting, 1), **look)


def _letters(names: Sequence[str], n_columns: int) -> int:
    """Width in letters of a legend that is filled column by column."""
    n_rows = -(-len(names) // n_columns)
    columns = [names[i : i + n_rows] for i in range(0, len(names), n_rows)]
    return sum(max(map(len, column)) + HANDLE_LETTERS for column in columns)


def chosen_on(table: pd.DataFrame) -> str:
    """What the best epochs of a table of summaries were chosen on: ``val``, or ``test or val``."""
    return " or ".join(sorted({str(chosen).partition(" on ")[2] for chosen in table["chosen_on"]}))


def spread_of(table: pd.DataFrame, column: str) -> np.ndarray | None:
    """Length of the error bars of a column, 0 where it is not known; None where there are none at all."""
    spread = table.get(f"{column}_std")
    return None if spread is None else spread.astype(float).fillna(0.0).to_numpy()


def note_no_reading(axes: Axes) -> None:
    """Say in a panel that it has no reading; :func:`draw_curve` takes the note away again."""
    if not _notes(axes):
        axes.text(0.5, 0.5, NO_READING, transform=axes.transAxes, ha="center", va="center", **NOTE)


def _notes(axes: Axes) -> list[Text]:
    return [text for text in axes.texts if text.get_text() == NO_READING]


def empty_note(axes: Axes, text: str) -> None:
    """A note in a panel that has nothing to show."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", **NOTE)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
