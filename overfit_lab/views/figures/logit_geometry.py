"""Logit geometry over training: the gaps, and the predicted beside the measured minimal perturbation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from overfit_lab.records.reader import Run
from overfit_lab.views.figures.caption import caption
from overfit_lab.views.figures.draw import draw_curve, empty_note, legend_above
from overfit_lab.views.figures.experiments import by_experiment
from overfit_lab.views.figures.literal import formula
from overfit_lab.views.figures.series import check_some, curve, decays, last_epoch, need_curve, title_of
from overfit_lab.views.figures.style import BLACK, GREY, PAGE, Look, epoch_axis, looks_of, new_figure, style

PROBE = "logit-geometry"
VIEWS = (("test", "clean"), ("train", "clean"), ("test", "adversarial"), ("train", "adversarial"))
"""Split and inputs, the first that every group of runs has is drawn; where there is none, the first is asked for."""
PREDICTED, MEASURED = 3, 4
"""Columns of the probe's arrays."""
BEYOND = 2
"""Predictions more than so many times the largest perturbation that was found lie outside (d)."""
DUAL = {"linf": r"\|_1", "l2": r"\|_2"}
View = tuple[str, str]
PREDICTED_LINE: dict[str, Any] = {"linewidth": 0.8, "markerfacecolor": "white", "markersize": 3.5}
SEEN: dict[str, Any] = {"color": GREY, "linewidth": 0.9, "linestyle": (0, (4, 3))}


def draw(runs: Sequence[Run]) -> Figure:
    """Logit gap, gradient gap, predicted and measured minimal perturbation per epoch, and sample by sample at the end.

    One line a label mode, or setting of it. In (c) thick lines are the smallest perturbation that was found, thin ones
    with hollow markers that of the linearised model, both means with 0 for samples that are wrong as they are; grey
    dashes are at the eps of the attack. In (d) a dot a sample of the first seed that is right, at the last measured
    epoch: on the diagonal the model is as good as linear; below it an error lies nearer than predicted.

    Raises:
        RunFolderError: some runs lack the logit-geometry probe, or were measured on other images than the rest.
    """
    check_some(runs, PROBE)
    groups = by_experiment(runs)
    view = split, inputs = _view(groups)
    looks, last = looks_of(list(groups)), last_epoch(runs)
    with style():
        known = [run.series(PROBE, "logit_gap", *view)["n"].dropna() for run in runs]
        n = sorted({int(counts.max()) for counts in known if len(counts)})
        of = f", {' / '.join(f'{count:,}' for count in n)} a run" if n else ""
        note = f"{inputs} {split} images{of}"
        extra = "in pixels of [0, 1], 0 for wrong samples; grey dashes: eps, in (d) equality; (d): first seed"
        figure = new_figure(PAGE, 4.7, caption(runs, split=note, extra=extra))
        (gap, gradient), (radius, samples) = figure.subplots(2, 2)
        for name, members in groups.items():
            line = looks[name].line()
            draw_curve(gap, need_curve(members, PROBE, PROBE, "logit_gap", *view), title_of(name), **line)
            draw_curve(gradient, need_curve(members, PROBE, PROBE, "gradient_gap", *view), **line)
        _radii(radius, groups, looks, view)
        _samples(samples, groups, looks, view)
        _label(figure, runs)
        for axes in (gap, gradient, radius):
            epoch_axis(axes, last, decays(runs))
        legend_above(figure, *gap.get_legend_handles_labels())
    return figure


def _view(groups: Mapping[str, Sequence[Run]]) -> View:
    for split, inputs in VIEWS:
        if all(curve(members, PROBE, "logit_gap", split, inputs) is not None for members in groups.values()):
            return split, inputs
    for members in groups.values():
        need_curve(members, PROBE, PROBE, "logit_gap", *VIEWS[0])
    return VIEWS[0]


def _radii(axes: Axes, groups: Mapping[str, Sequence[Run]], looks: Mapping[str, Look], view: View) -> None:
    """(c); a mean that is not finite at any epoch is left out."""
    for name, members in groups.items():
        look = looks[name]
        predicted = curve(members, PROBE, "predicted", *view)
        draw_curve(axes, predicted, "predicted", marker=look.marker, **look.line(), **PREDICTED_LINE)
        draw_curve(axes, curve(members, PROBE, "measured", *view), "measured", **look.line())
    if not axes.get_lines():
        return
    for eps in sorted({run.config.attack.eps for members in groups.values() for run in members}):
        axes.axhline(eps, **SEEN)
    handles = [Line2D([], [], color=BLACK), Line2D([], [], color=BLACK, marker="o", **PREDICTED_LINE)]
    axes.legend(handles, ["measured", "predicted"], loc="lower left", bbox_to_anchor=(0.35, 1.0), ncols=2)
    axes.set_ylim(bottom=0)


def _samples(axes: Axes, groups: Mapping[str, Sequence[Run]], looks: Mapping[str, Look], view: View) -> None:
    """(d), up to the largest perturbation that was found."""
    largest = 0.0
    for name, members in groups.items():
        predicted, measured = _pairs(members[0], view)
        if not len(measured):
            continue
        largest = max(largest, float(measured.max()), min(float(predicted.max()), BEYOND * float(measured.max())))
        look = looks[name]
        axes.scatter(predicted, measured, s=7, color=look.color, marker=look.marker, alpha=0.6, linewidths=0)
    if not largest:
        empty_note(axes, "no sample with both perturbations")
        return
    axes.plot([0, largest], [0, largest], zorder=0.5, **SEEN)
    axes.set_xlim(0, 1.03 * largest)
    axes.set_ylim(0, 1.03 * largest)


def _pairs(run: Run, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and measured perturbation at the last epoch with arrays, of samples that are right and have both."""
    epochs = run.epochs_with_arrays(PROBE)
    table = run.arrays(PROBE, epochs[-1]).get(f"geometry-{'-'.join(view)}") if epochs else None
    if table is None or table.shape[1] <= MEASURED:
        return np.empty(0), np.empty(0)
    predicted, measured = table[:, PREDICTED], table[:, MEASURED]
    known = (predicted > 0) & (measured > 0) & np.isfinite(predicted) & np.isfinite(measured)
    return predicted[known], measured[known]


def _label(figure: Figure, runs: Sequence[Run]) -> None:
    gap, gradient, radius, samples = figure.axes
    norms = {DUAL[run.config.attack.norm] for run in runs}
    dual = norms.pop() if len(norms) == 1 else r"\|_*"
    formula(gap.set_ylabel(r"$z_y - \max_j z_j$"))
    formula(gradient.set_ylabel(rf"$\|\nabla_x (z_y - z_j){dual}$"))
    radius.set_ylabel("minimal perturbation (pixels)")
    samples.set_xlabel("predicted perturbation (pixels)")
    samples.set_ylabel("measured perturbation (pixels)")
    names = ("(a) logit gap", "(b) gradient gap", "(c) perturbation", "(d) sample by sample")
    for axes, title in zip(figure.axes, names, strict=True):
        axes.set_title(title, loc="left")


REGISTER = {"logit-geometry": draw}
