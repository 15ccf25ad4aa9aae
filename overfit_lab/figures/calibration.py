"""Calibration over training: error trajectories and reliability diagrams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from overfit_lab.figures.caption import caption
from overfit_lab.figures.draw import draw_curve, legend
from overfit_lab.figures.experiments import by_experiment
from overfit_lab.figures.series import check_some, decays, last_epoch, need_curve, title_of
from overfit_lab.figures.style import (
    GREY,
    PAGE,
    Look,
    epoch_axis,
    looks_of,
    mark_stages,
    new_figure,
    style,
)
from overfit_lab.runs.reader import Run

INPUTS = ("clean", "adversarial")


def draw(runs: Sequence[Run]) -> Figure:
    """Top: expected calibration error per epoch on clean and adversarial test images.

    One line a label mode, or setting of it.

    Bottom: reliability diagrams at the last epoch; the area of a dot grows with the bin's share of the samples, and
    below the diagonal the model is more sure than it is right.

    Args:
        runs: runs with the calibration probe.

    Raises:
        RunFolderError: no run has it.
    """
    check_some(runs, "calibration")
    groups = by_experiment(runs)
    looks = looks_of(list(groups))
    last = last_epoch(runs)
    with style():
        text = caption(runs, split="test split, ECE in 15 equal-width bins; reliability at the last epoch, first seed")
        figure = new_figure(PAGE, 5.0, text)
        grid = figure.subplots(2, 2, sharey="row")
        for axes, inputs in zip(grid[0], INPUTS, strict=True):
            for name, members in groups.items():
                found = need_curve(members, "calibration", "calibration", "ece", "test", inputs)
                draw_curve(axes, found, title_of(name), marker=looks[name].marker, **looks[name].line())
            epoch_axis(axes, last)
            mark_stages(axes, decays(runs), last)
            axes.set_title(f"{inputs} test images", loc="left")
        grid[0][0].set_ylim(bottom=0)  # last, since it ends the scaling of both panels
        grid[0][0].set_ylabel("expected calibration error")
        legend(figure, grid[0][1], "best")
        for axes, inputs in zip(grid[1], INPUTS, strict=True):
            axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
            for name, members in groups.items():
                _reliability(axes, members[0], inputs, looks[name])
            axes.set_xlim(0, 1)
            axes.set_ylim(0, 1)
            axes.set_xlabel("confidence")
            corner: dict[str, Any] = {"transform": axes.transAxes, "fontsize": 6.5, "color": "#777777"}
            axes.text(0.97, 0.33, "overconfident", ha="right", **corner)
            axes.text(0.03, 0.60, "underconfident", ha="left", **corner)
        grid[1][0].set_ylabel("accuracy")
    return figure


def _reliability(axes: Axes, run: Run, inputs: str, look: Look) -> None:
    epochs = run.epochs_with_arrays("calibration")
    table = run.arrays("calibration", epochs[-1]).get(f"reliability-test-{inputs}") if epochs else None
    if table is None:
        return
    used = table[table[:, 2] > 0]
    share = used[:, 2] / used[:, 2].sum()
    axes.plot(used[:, 0], used[:, 1], linewidth=0.9, **look.line())
    axes.scatter(
        used[:, 0], used[:, 1], s=6 + 160 * np.minimum(share, 0.5), color=look.color, marker=look.marker, alpha=0.75
    )


REGISTER = {"calibration": draw}
