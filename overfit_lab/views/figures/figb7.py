"""Fig. B.7 of SGLR: robust accuracy, gradient norm and Hessian trace under several learning-rate schedules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from overfit_lab.errors import RunFolderError
from overfit_lab.records.reader import Run
from overfit_lab.views.figures.caption import caption
from overfit_lab.views.figures.draw import draw_curve, legend_above, mark_best_and_last
from overfit_lab.views.figures.experiments import apart, need_alike, one_a_seed
from overfit_lab.views.figures.literal import formula
from overfit_lab.views.figures.series import Curve, by_labels, check_some, decays, last_epoch, need_curve, title_of
from overfit_lab.views.figures.style import LINES, PAGE, Look, epoch_axis, mark_stages, new_figure, percent_axis, style

LOOKS: Mapping[str, Look] = {
    **dict(zip(("piecewise", "cosine", "linear", "cyclic", "one-drop"), LINES, strict=False)),
    "multi-decay": replace(LINES[5], linestyle=(0, (2, 1))),
}
STROKE = 0.05
"""Length of the strokes at decays, as a share of the panel."""


class Panel(NamedTuple):
    """One number over epochs: title, label of its axis, and its address in the records."""

    title: str
    label: str
    probe: str
    field: str
    split: str


PANELS = (
    Panel("(a) robust train accuracy", "accuracy", "evaluation", "acc_adv", "train"),
    Panel("(b) robust test accuracy", "accuracy", "evaluation", "acc_adv", "test"),
    Panel("(c) gradient norm", r"gradient norm $\|\nabla_\theta L\|_2$", "gradient-norm", "full", "train"),
    Panel("(d) Hessian trace", r"trace of $\nabla^2_\theta L$", "hessian", "trace", "train"),
)


def draw(runs: Sequence[Run]) -> Figure:
    """Robust accuracy on train and test, gradient norm and Hessian trace per epoch, one look a schedule.

    Strokes at the lower edge, in the look's colour, are at the decays of a schedule that has some; the shade begins at
    the first decay of the first schedule that has one. Of several label modes the first of hard, smooth, sglr is drawn.

    Raises:
        RunFolderError: the records lack what is drawn, or the runs differ in more than the seed and the schedule.
    """
    check_some(runs, "figb7")
    name, runs = next(iter(by_labels(runs).items()))
    groups = by_schedule(runs, name)
    looks, last = _looks(list(groups)), last_epoch(runs)
    drops = {schedule: decays(members) for schedule, members in groups.items()}
    first = next((epochs for epochs in drops.values() if epochs), [])[:1]
    with style():
        note = "gradient norm and Hessian trace on the fixed train probe subset, adversarial images"
        marks = "diamond: highest mean on test, dot: last epoch"
        decay = "; strokes: learning-rate decays, shaded: after the first" if first else ""
        figure = new_figure(PAGE, 4.4, caption(runs, split=f"{title_of(name)}; {note}", extra=marks + decay))
        for axes, panel in zip(figure.subplots(2, 2, sharex=True).ravel(), PANELS, strict=True):
            curves = {
                schedule: need_curve(members, "figb7", panel.probe, panel.field, panel.split, "adversarial")
                for schedule, members in groups.items()
            }
            _panel(axes, panel, curves, looks)
            mark_stages(axes, first, last)
            for schedule, epochs in drops.items():
                _strokes(axes, epochs, looks[schedule])
            axes.set_xlim(0, last)
            if panel in PANELS[2:]:
                epoch_axis(axes, last)
        legend_above(figure, *figure.axes[0].get_legend_handles_labels(), most=6)
    return figure


def by_schedule(runs: Sequence[Run], labels: str) -> dict[str, list[Run]]:
    """Runs by the name of their schedule, and apart where its settings differ; piecewise and cosine come first.

    Of several runs of one seed the first is taken.

    Raises:
        RunFolderError: they differ in more than the seed and the schedule.
    """
    unknown = [run.name for run in runs if not run.config.knows("schedule")]
    if unknown:
        raise RunFolderError(f"figb7: the schedule of monitored runs is not known ({', '.join(unknown[:3])})")
    complaint = f"the runs with {title_of(labels)} differ in more than the seed and the schedule"
    need_alike(runs, "figb7", complaint, ("schedule",))
    names = sorted({run.config.schedule.name for run in runs}, key=_place)
    groups = apart({name: [run for run in runs if run.config.schedule.name == name] for name in names})
    return {name: one_a_seed(part) for name, part in groups.items()}


def _place(name: str) -> tuple[int, str]:
    known = list(LOOKS)
    return (known.index(name) if name in known else len(known)), name


def _looks(names: Sequence[str]) -> dict[str, Look]:
    """The look of each schedule, the same in every figure; others, and further settings of one, get free ones."""
    looks: dict[str, Look] = {}
    free = [*(look for name, look in LOOKS.items() if name not in names), *LINES[3:]]
    for name in names:
        looks[name] = LOOKS[name] if name in LOOKS else free[sum(n not in LOOKS for n in looks) % len(free)]
    return looks


def _panel(axes: Axes, panel: Panel, curves: Mapping[str, Curve], looks: Mapping[str, Look]) -> None:
    for schedule, curve in curves.items():
        draw_curve(axes, curve, schedule, **looks[schedule].line())
        if panel.split == "test":
            mark_best_and_last(axes, curve, looks[schedule].color)
    axes.set_title(panel.title, loc="left")
    if panel.probe == "evaluation":
        percent_axis(axes, panel.label)
    else:
        formula(axes.set_ylabel(panel.label))
        axes.set_ylim(bottom=min(0.0, *(curve.low.min() for curve in curves.values())))


def _strokes(axes: Axes, epochs: Sequence[int], look: Look) -> None:
    place: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "color": look.color, "linewidth": 1.6}
    for epoch in epochs:
        axes.plot([epoch, epoch], [0, STROKE], **place)


REGISTER = {"figb7": draw}
