"""Everything over training on one page."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from overfit_lab.errors import RunFolderError
from overfit_lab.records.reader import Run
from overfit_lab.views.figures.caption import caption, stages
from overfit_lab.views.figures.draw import draw_curve, legend_above, once
from overfit_lab.views.figures.experiments import by_experiment
from overfit_lab.views.figures.series import Curve, check_some, curve, decays, last_epoch, title_of
from overfit_lab.views.figures.style import PAGE, epoch_axis, looks_of, new_figure, percent_axis, style


class Panel(NamedTuple):
    """One number over epochs: title, address in the records, and kind of axis."""

    title: str
    probe: str
    field: str
    split: str | None
    inputs: str | None
    kind: str = ""


PANELS = (
    Panel("robust test accuracy", "evaluation", "acc_adv", "test", "adversarial", "percent"),
    Panel("robust train accuracy", "evaluation", "acc_adv", "train", "adversarial", "percent"),
    Panel("clean test accuracy", "evaluation", "acc_clean", "test", "clean", "percent"),
    Panel("training loss (nats)", "training", "loss", "train", None),
    Panel("robust test loss (nats)", "evaluation", "loss_adv", "test", "adversarial"),
    Panel("learning rate", "training", "lr", None, None, "log"),
    Panel("gradient norm, robust train", "gradient-norm", "full", "train", "adversarial"),
    Panel("IIW (nats), robust train", "iiw", "iiw", "train", "adversarial", "log"),
    Panel("Hessian trace, robust train", "hessian", "trace", "train", "adversarial", "log"),
    Panel("ECE, robust test", "calibration", "ece", "test", "adversarial"),
    Panel("corrupted labels fitted", "memorisation", "acc_given/corrupted", "train", "clean", "percent"),
    Panel("k-NN accuracy of features", "features", "knn_acc", "test", "clean", "percent"),
)


def draw(runs: Sequence[Run]) -> Figure:
    """A panel for each number that some run has: accuracies, losses, learning rate and the probes.

    One line a label mode, or setting of it. "robust" is on adversarial images; the corrupted labels' and the
    features' panels are on clean ones.

    Raises:
        RunFolderError: no records, or no finite reading of any panel.
    """
    check_some(runs, "overview")
    groups = by_experiment(runs)
    looks = looks_of(list(groups))
    curves: dict[Panel, dict[str, Curve]] = {panel: {} for panel in PANELS}
    for panel, (name, members) in product(PANELS, groups.items()):
        series = curve(members, panel.probe, panel.field, panel.split, panel.inputs)
        curves[panel] |= {} if series is None else {name: series}
    panels = [panel for panel in PANELS if curves[panel]]
    if not panels:
        raise RunFolderError(f"overview: no finite reading in {', '.join(run.name for run in runs[:3])}")
    last, drops = last_epoch(runs), decays(runs)
    n_rows = -(-len(panels) // 3)
    with style():
        note = "; ".join(filter(None, ("robust: adversarial images", stages(drops))))
        figure = new_figure(PAGE, 1.75 * n_rows + 0.6, caption(runs, extra=note))
        grid = figure.subplots(n_rows, 3, squeeze=False).ravel()
        for axes, panel in zip(grid, panels, strict=False):
            for name, series in curves[panel].items():
                draw_curve(axes, series, title_of(name), **looks[name].line())
            axes.set_title(panel.title, loc="left")
            if panel.kind == "percent":
                percent_axis(axes, "accuracy" if "accuracy" in panel.title else "share")
            elif panel.kind == "log" and min(c.low.min() for c in curves[panel].values()) > 0:
                _log_axis(axes)
            epoch_axis(axes, last, drops)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        legend_above(figure, *once(grid))
    return figure


def _log_axis(axes: Axes) -> None:
    """A logarithmic axis whose numbers are written out."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if (high / low < 30) else (1,)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


REGISTER = {"overview": draw}
