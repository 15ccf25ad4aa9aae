"""Calibration over training: error trajectories and reliability diagrams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from overfit_lab.records.reader import Run
from overfit_lab.views.figures.caption import caption, samples, stages
from overfit_lab.views.figures.draw import draw_curve, legend_above, note_no_reading, once
from overfit_lab.views.figures.experiments import by_experiment
from overfit_lab.views.figures.series import check_some, decays, last_epoch, need_curve, pooled_bins, title_of
from overfit_lab.views.figures.style import GREY, PAGE, Look, epoch_axis, looks_of, new_figure, style

INPUTS = ("clean", "adversarial")
LEAST = 10
"""Bins of fewer samples are hollow, and no line goes through them."""


def draw(runs: Sequence[Run]) -> Figure:
    """Top: expected calibration error per epoch on clean and adversarial test images.

    One line a label mode, or setting of it.

    Bottom: reliability diagrams at the last epoch, the samples of all seeds together; the area of a dot grows
    with the bin's share of the samples, and below the diagonal the model is more sure than it is right.

    Raises:
        RunFolderError: no run has the calibration probe.
    """
    check_some(runs, "calibration")
    groups = by_experiment(runs)
    looks = looks_of(list(groups))
    last = last_epoch(runs)
    with style():
        measured = samples(runs, "calibration", "ece", "test", "")
        note = "(c, d): last epoch, samples of all seeds together, overconfident below the diagonal; hollow: bins of "
        note += f"fewer than {LEAST}"
        text = caption(
            runs, split=f"ECE in 15 equal-width bins, {measured}", extra=f"{stages(decays(runs))}; {note}".lstrip("; ")
        )
        figure = new_figure(PAGE, 5.2, text)
        grid = figure.subplots(2, 2, sharey="row")
        for axes, inputs, letter in zip(grid[0], INPUTS, "ab", strict=True):
            for name, members in groups.items():
                error = need_curve(members, "calibration", "calibration", "ece", "test", inputs)
                draw_curve(axes, error, title_of(name), marker=looks[name].marker, **looks[name].line())
            epoch_axis(axes, last, decays(runs))
            axes.set_title(f"({letter}) {inputs} test images", loc="left")
        grid[0][0].set_ylim(bottom=0)  # last, since it ends the scaling of both panels
        grid[0][0].set_ylabel("expected calibration error")
        legend_above(figure, *once(grid[0]))
        for axes, inputs, letter in zip(grid[1], INPUTS, "cd", strict=True):
            axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
            for name, members in groups.items():
                _reliability(axes, members, inputs, looks[name])
            if not axes.collections:
                note_no_reading(axes)
            axes.set_xlim(0, 1)
            axes.set_ylim(0, 1)
            axes.set_xlabel("confidence")
            axes.set_title(f"({letter}) reliability, {inputs} test images", loc="left")
        grid[1][0].set_ylabel("accuracy")
    return figure


def _reliability(axes: Axes, runs: Sequence[Run], inputs: str, look: Look) -> None:
    table = pooled_bins(runs, inputs)
    if table is None:
        return
    used = table[table[:, 2] > 0]
    share = used[:, 2] / used[:, 2].sum()
    many = used[:, 2] >= LEAST
    axes.plot(used[many, 0], used[many, 1], linewidth=0.9, **look.line())
    fill = [look.color if enough else "white" for enough in many]
    dot: dict[str, Any] = {"edgecolor": look.color, "linewidths": 0.6, "marker": look.marker, "zorder": 3}
    sizes = 8 + 160 * np.minimum(share, 0.5)
    axes.scatter(used[:, 0], used[:, 1], s=sizes, facecolor=fill, clip_on=False, **dot)


REGISTER = {"calibration": draw}
