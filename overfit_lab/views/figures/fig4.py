"""Fig. 4 of SGLR: training under label noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from overfit_lab.records.reader import Run
from overfit_lab.views.figures.caption import caption, samples, stages
from overfit_lab.views.figures.draw import draw_curve, legend_above, once
from overfit_lab.views.figures.experiments import accuracy_of, curves_of, noisy_of, standard_of
from overfit_lab.views.figures.series import (
    check_some,
    decays,
    last_epoch,
    need_curve,
    noise_rate,
    share_untouched,
    title_of,
)
from overfit_lab.views.figures.style import GREY, PAGE, epoch_axis, looks_of, new_figure, percent_axis, style

TARGET_RATE = 0.4


def pick_rate(runs: Sequence[Run]) -> list[Run]:
    """The runs whose noise rate is nearest to the paper's 40%, preferring standard training, which the figure is about.

    Raises:
        RunFolderError: no run has label noise.
    """
    noisy = noisy_of(runs, "fig4")
    chosen = standard_of(noisy) or noisy
    rate = min((noise_rate(run) for run in chosen), key=lambda eta: abs(eta - TARGET_RATE))
    return [run for run in chosen if noise_rate(run) == rate]


def draw(runs: Sequence[Run]) -> Figure:
    """Train accuracy against the given labels, with the share of untouched labels dashed; and test accuracy.

    Of runs at several rates the one nearest to 40% is drawn. Clean accuracy for standard training, robust accuracy
    for adversarial training.

    Raises:
        RunFolderError: none has label noise, or no evaluation, or the runs of one curve differ in more than the seed.
    """
    check_some(runs, "fig4")
    runs = pick_rate(runs)
    groups = curves_of(runs, "fig4")
    kind, field, inputs = accuracy_of(runs)
    looks = looks_of(list(groups))
    last = last_epoch(runs)
    with style():
        measured = samples(runs, "evaluation", field, "train", "")
        text = caption(runs, split=f"train accuracy on {measured}, given labels", extra=stages(decays(runs)))
        figure = new_figure(PAGE, 2.9, text)
        left, right = figure.subplots(1, 2)
        for name, members in groups.items():
            look = looks[name]
            for axes, split in ((left, "train"), (right, "test")):
                accuracy = need_curve(members, "fig4", "evaluation", field, split, inputs)
                draw_curve(axes, accuracy, title_of(name), **look.line())
        untouched = share_untouched(runs, "fig4")
        left.axhline(untouched, color=GREY, linestyle=(0, (4, 3)), linewidth=1)
        note: dict[str, Any] = {"fontsize": 6.5, "color": "#555555", "va": "top", "ha": "right"}
        left.text(0.98 * last, untouched - 0.008, f"untouched labels {untouched:.0%}", **note)
        for axes, split in ((left, "train"), (right, "test")):
            percent_axis(axes, f"{kind} {split} accuracy")
            epoch_axis(axes, last, decays(runs))
        left.set_title("(a) training split", loc="left")
        right.set_title("(b) test split", loc="left")
        legend_above(figure, *once((left, right)))
    return figure


REGISTER = {"fig4": draw}
