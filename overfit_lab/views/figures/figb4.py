"""Fig. B.4 of SGLR: training and test curves over rates of label noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from overfit_lab.records.reader import Run
from overfit_lab.views.figures.caption import caption
from overfit_lab.views.figures.draw import draw_curve, legend_above
from overfit_lab.views.figures.experiments import accuracy_of, curves_of, need_alike, noisy_of, one_a_seed, standard_of
from overfit_lab.views.figures.literal import formula
from overfit_lab.views.figures.series import (
    check_some,
    decays,
    last_epoch,
    need_curve,
    noise_rate,
    share_untouched,
    title_of,
)
from overfit_lab.views.figures.style import (
    BLACK,
    COLUMN,
    PAGE,
    epoch_axis,
    looks_of,
    mark_stages,
    new_figure,
    percent_axis,
    style,
)

UNTOUCHED: dict[str, Any] = {"color": BLACK, "linestyle": (0, (1, 1.5)), "linewidth": 1.0}
OF_A_METHOD = ("labels", "objective", "regularizers", "data.noise")
"""Settings in which the runs of the figure may differ."""


def pick_runs(runs: Sequence[Run]) -> list[Run]:
    """The runs to draw: those of standard training if some of them are noisy, else all.

    Raises:
        RunFolderError: no run has label noise, or the runs are of several data sets, models or kinds of noise.
    """
    noisy = noisy_of(runs, "figb4")
    if standard_of(noisy):
        runs, noisy = standard_of(runs), standard_of(noisy)
    need_alike(runs, "figb4", "the runs differ in more than seed, method and label noise", OF_A_METHOD)
    need_alike(noisy, "figb4", "the runs differ in the kind of noise", (*OF_A_METHOD[:3], "data.noise.rate"))
    return list(runs)


def draw(runs: Sequence[Run]) -> Figure:
    """Two rows (train, test) by one column a noise rate, and in each panel one line a label mode.

    Train accuracy is against the given labels, beside the share of untouched labels (dotted). Clean accuracy for
    standard training, robust accuracy for adversarial training.

    Raises:
        RunFolderError: none has label noise, or no evaluation; or the runs of one curve differ in more than the seed,
            or those of the figure in data or model.
    """
    check_some(runs, "figb4")
    runs = pick_runs(runs)
    groups = curves_of(runs, "figb4", " and the noise rate", ("data.noise",))
    rates = sorted({noise_rate(run) for run in runs})
    kind, field, inputs = accuracy_of(runs)
    looks, last = looks_of(list(groups)), last_epoch(runs)
    with style():
        width = PAGE if len(rates) > 2 else COLUMN
        extra = "grey dots: learning-rate decays; shaded: after the first"
        text = caption(runs, split=f"{kind} accuracy, train against the given labels", extra=extra)
        figure = new_figure(width, 3.9, text)
        grid = figure.subplots(2, len(rates), sharex=True, sharey="row", squeeze=False)
        for column, rate in enumerate(rates):
            of_rate = [run for run in runs if noise_rate(run) == rate]
            for axes, split in zip(grid[:, column], ("train", "test"), strict=True):
                for name, members in groups.items():
                    seeds = one_a_seed([run for run in members if noise_rate(run) == rate])
                    if seeds:
                        accuracy = need_curve(seeds, "figb4", "evaluation", field, split, inputs)
                        draw_curve(axes, accuracy, **looks[name].line())
                mark_stages(axes, decays(of_rate), last)
            grid[0][column].axhline(share_untouched(of_rate, "figb4"), **UNTOUCHED)
            formula(grid[0][column].set_title(rf"$\eta$ = {rate:g}"))
            epoch_axis(grid[1][column], last)
        for axes, split in zip(grid[:, 0], ("train", "test"), strict=True):
            percent_axis(axes, f"{kind} {split}\naccuracy")
        handles = [Line2D([], [], **look) for look in (*(look.line() for look in looks.values()), UNTOUCHED)]
        legend_above(figure, handles, [*map(title_of, looks), "share of untouched labels"])
    return figure


REGISTER = {"figb4": draw}
