"""Fig. 3 of SGLR: confidence in right against confidence in wrong predictions, over training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from overfit_lab.errors import RunFolderError
from overfit_lab.records.reader import Run
from overfit_lab.records.summary import best_epoch
from overfit_lab.views.figures.caption import caption, samples
from overfit_lab.views.figures.draw import legend_above, note_no_reading, once
from overfit_lab.views.figures.experiments import by_experiment
from overfit_lab.views.figures.series import Curve, check_some, curve, title_of
from overfit_lab.views.figures.style import ORANGE, PAGE, Look, looks_of, new_figure, style

PANELS = (("clean", "(a) clean test images"), ("adversarial", "(b) adversarial test images"))


def draw(runs: Sequence[Run]) -> Figure:
    """Mean confidence in correct (x) and in wrong (y) predictions, a panel for clean and one for adversarial images.

    One dot an epoch, darker and larger the later; the thin lines cross at the epoch nearest to the best robust
    accuracy; the axes go as far as there are dots; the star is the ideal corner, sure where right and unsure
    where wrong.

    Raises:
        RunFolderError: no run has the confidence probe.
    """
    check_some(runs, "fig3")
    groups = by_experiment(runs)
    looks = looks_of(list(groups))
    drawn = 0
    with style():
        measured = samples(runs, "confidence", "conf", "test", "")
        note = "a dot a measured epoch, larger and darker the later; lines cross at the one nearest to the best robust "
        note += "accuracy; star: ideal"
        figure = new_figure(PAGE, 3.8, caption(runs, split=measured, extra=note, shows="mean"))
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        for axes, (inputs, title) in zip(panels, PANELS, strict=True):
            for name, members in groups.items():
                correct = curve(members, "confidence", "conf_correct", "test", inputs)
                wrong = curve(members, "confidence", "conf_wrong", "test", inputs)
                if correct is None or wrong is None or not len(np.intersect1d(correct.epoch, wrong.epoch)):
                    continue
                drawn += 1
                _trail(axes, correct, wrong, looks[name], title_of(name))
                _cross(axes, correct, wrong, looks[name], int(np.median([best_epoch(run).epoch for run in members])))
            if not axes.collections:
                note_no_reading(axes)
            axes.set_title(title, loc="left")
            axes.set_xlabel("mean confidence in correct predictions")
            axes.plot(1, 0, marker="*", markersize=11, color=ORANGE, markeredgecolor="black", clip_on=False, zorder=6)
            axes.set_aspect("equal")
        panels[0].set_ylabel("mean confidence in wrong predictions")
        if not drawn:
            raise RunFolderError(
                "fig3: no confidence rows; record them by `overfit-lab probe RUN --metric confidence --checkpoint all`"
            )
        figure.set_figheight(1.3 + 3.05 * _frame(panels))
        legend_above(figure, *once(panels))
    return figure


def _frame(panels: Sequence[Axes]) -> float:
    """Fit the axes to the dots and the ideal corner; returns the panels' height over their width."""
    dots = np.concatenate([np.asarray(c.get_offsets()) for axes in panels for c in axes.collections])
    left, top = dots[:, 0].min(), dots[:, 1].max()
    panels[0].set_xlim(max(0.0, np.floor(10 * left - 0.2) / 10), 1)
    panels[0].set_ylim(0, min(1.0, np.ceil(10 * top + 0.2) / 10))
    (x0, x1), (y0, y1) = panels[0].get_xlim(), panels[0].get_ylim()
    return float((y1 - y0) / (x1 - x0))


def _trail(axes: Axes, correct: Curve, wrong: Curve, look: Look, label: str) -> None:
    x, y, epochs = _common(correct, wrong)
    age: Any = np.linspace(0.15, 1.0, len(epochs)) if len(epochs) > 1 else np.ones(1)
    axes.plot(x, y, color=look.color, linewidth=0.5, alpha=0.5, zorder=2)
    axes.scatter(x, y, s=4 + 30 * age**2, color=look.color, alpha=age, marker=look.marker, linewidths=0, zorder=3)
    axes.scatter([], [], s=26, color=look.color, marker=look.marker, label=label)


def _cross(axes: Axes, correct: Curve, wrong: Curve, look: Look, best: int) -> None:
    x, y, epochs = _common(correct, wrong)
    nearest = int(np.argmin(np.abs(epochs - best)))
    dash = (0, (4, 3)) if look.linestyle == "-" else look.linestyle
    dashed: dict[str, Any] = {"color": look.color, "linewidth": 0.8, "linestyle": dash, "alpha": 0.9}
    axes.plot([x[nearest], x[nearest]], [0, y[nearest]], **dashed)
    axes.plot([x[nearest], 1], [y[nearest], y[nearest]], **dashed)


def _common(correct: Curve, wrong: Curve) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    epochs, i, j = np.intersect1d(correct.epoch, wrong.epoch, return_indices=True)
    return correct.mean[i], wrong.mean[j], epochs


REGISTER = {"fig3": draw}
