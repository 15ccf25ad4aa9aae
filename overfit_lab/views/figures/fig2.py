"""Fig. 2 of SGLR: clean and robust accuracy for hard labels, label smoothing and SGLR."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from overfit_lab.errors import RunFolderError
from overfit_lab.records.reader import Run
from overfit_lab.views.figures.caption import caption, samples, stages
from overfit_lab.views.figures.draw import draw_curve, legend_above, once
from overfit_lab.views.figures.experiments import need_one_experiment
from overfit_lab.views.figures.series import ORDER, by_labels, check_some, curve, decays, last_epoch, title_of
from overfit_lab.views.figures.style import PAGE, SPLITS, epoch_axis, mark_stages, new_figure, percent_axis, style

ROWS = (("acc_clean", "clean", "clean accuracy"), ("acc_adv", "adversarial", "robust accuracy"))


def draw(runs: Sequence[Run]) -> Figure:
    """Two rows (clean, robust) by three columns (hard, smooth, SGLR), train and test accuracy in each.

    A column whose label mode no run has says so.

    Raises:
        RunFolderError: no records, no run of any column, or the runs of a column differ in more than the seed.
    """
    check_some(runs, "fig2")
    groups = {name: members for name, members in by_labels(runs).items() if name in ORDER}
    if not groups:
        listed = ", ".join(run.name for run in runs[:3])
        raise RunFolderError(f"fig2: no adversarial training with {', '.join(ORDER)} labels among {listed}")
    for name, members in groups.items():
        need_one_experiment(members, "fig2", name)
    runs = [run for members in groups.values() for run in members]
    last = last_epoch(runs)
    with style():
        measured = samples(runs, "evaluation", "acc_clean", "train", "")
        text = caption(runs, split=f"train accuracy on {measured}, given labels", extra=stages(decays(runs)))
        figure = new_figure(PAGE, 4.2, text)
        grid = figure.subplots(2, 3, sharex=True, sharey="row")
        for column, name in enumerate(ORDER):
            for row, (field, inputs, title) in enumerate(ROWS):
                axes = grid[row][column]
                members = groups.get(name, [])
                if row == 0:
                    axes.set_title(title_of(name))
                if not members:
                    axes.text(0.5, 0.5, f"no {name} run", transform=axes.transAxes, ha="center", color="#777777")
                for split, line in SPLITS.items() if members else ():
                    draw_curve(axes, curve(members, "evaluation", field, split, inputs), split, **line)
                mark_stages(axes, decays(members) if members else [], last)
                if column == 0:
                    percent_axis(axes, title)
                if row == 1:
                    epoch_axis(axes, last)
        handles, names = once(grid.ravel())
        if names:
            legend_above(figure, handles, names)
    return figure


REGISTER = {"fig2": draw}
