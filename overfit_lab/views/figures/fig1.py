"""Fig. 1 of SGLR: the gradient norm over training, and robust accuracy with the information in the weights."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from overfit_lab.records.naming import method_title
from overfit_lab.records.reader import Run
from overfit_lab.views.figures.caption import caption, samples, stages
from overfit_lab.views.figures.draw import draw_curve
from overfit_lab.views.figures.experiments import need_one_experiment
from overfit_lab.views.figures.literal import formula
from overfit_lab.views.figures.series import by_labels, check_some, decays, last_epoch, need_curve
from overfit_lab.views.figures.style import BLACK, PAGE, SPLITS, epoch_axis, new_figure, percent_axis, style


def draw(runs: Sequence[Run]) -> Figure:
    """(a) Gradient norm per epoch; (b) robust train and test accuracy, with IIW on a second axis.

    Runs of several label modes: the first of hard, smooth, sglr that is there is drawn, since the figure is about one
    way of training. Decays are marked, and the growth stage, after the first decay, is shaded.

    Raises:
        RunFolderError: the records lack a number (probes gradient-norm and iiw), or the runs differ beyond the seed.
    """
    check_some(runs, "fig1")
    name, runs = next(iter(by_labels(runs).items()))
    need_one_experiment(runs, "fig1", name)
    norm = need_curve(runs, "fig1", "gradient-norm", "full", "train", "adversarial")
    information = need_curve(runs, "fig1", "iiw", "iiw", "train", "adversarial")
    drops, last = decays(runs), last_epoch(runs)
    with style():
        measured = samples(runs, "iiw", "iiw", "train", "adversarial")
        text = caption(runs, split=f"gradient norm and IIW on {measured}, always the same", extra=stages(drops))
        figure = new_figure(PAGE, 2.7, text)
        left, right = figure.subplots(1, 2)
        draw_curve(left, norm, color=BLACK, marker="o")
        formula(left.set_ylabel(r"gradient norm $\|\nabla_\theta L\|_2$"))
        left.set_ylim(0, 1.12 * norm.high.max())
        left.set_title(f"(a) gradient norm, {method_title(runs[0].config)}", loc="left")
        for split, line in SPLITS.items():
            accuracy = need_curve(runs, "fig1", "evaluation", "acc_adv", split, "adversarial")
            draw_curve(right, accuracy, f"robust {split}", **line)
        percent_axis(right, "robust accuracy")
        right.set_title("(b) robust accuracy and IIW", loc="left")
        second = right.twinx()
        draw_curve(second, information, "IIW (right axis)", color=BLACK, linestyle=(0, (1, 1)), marker="D", band=0.08)
        second.set_ylabel("IIW (nats)")
        if information.high.max() >= 1e4:
            formula(second.set_ylabel(r"IIW ($10^3$ nats)"))
            second.yaxis.set_major_formatter(lambda value, _: f"{value / 1e3:g}")
        second.set_ylim(bottom=0)
        second.grid(False)
        second.spines["right"].set_visible(True)
        for axes in (left, right):
            epoch_axis(axes, last, drops, label=axes is left)
        handles = [*right.get_lines()[:2], second.get_lines()[0]]
        figure.legend(handles, [str(h.get_label()) for h in handles], loc="outside upper right", ncols=3)
    return figure


REGISTER = {"fig1": draw}
