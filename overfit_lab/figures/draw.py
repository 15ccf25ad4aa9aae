"""Pieces that several figures share."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from overfit_lab.figures.series import Curve

MOST_MARKERS = 60
"""A curve of more points is drawn without markers, which would cover it."""


def draw_curve(axes: Axes, curve: Curve | None, label: str | None = None, **line: Any) -> Line2D | None:
    """A mean curve with its band; nothing for None."""
    if curve is None:
        return None
    marker = line.pop("marker", None) if len(curve.epoch) <= MOST_MARKERS else None
    line.pop("marker", None)
    (drawn,) = axes.plot(curve.epoch, curve.mean, label=label, marker=marker, **line)
    if curve.n_runs > 1:
        axes.fill_between(curve.epoch, curve.low, curve.high, color=drawn.get_color(), alpha=0.18, linewidth=0)
    return drawn


def empty_note(axes: Axes, text: str) -> None:
    """A note in a panel that has nothing to show."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=7, color="#777777")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
