"""The onset of robust overfitting and the drop of accuracy, drawn on the curves that they were tested on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from overfit_lab.errors import RunFolderError
from overfit_lab.records.reader import Run
from overfit_lab.views.diagnosis.phases_of import overfits, phases_of
from overfit_lab.views.diagnosis.readings import Evaluations, evaluations_of
from overfit_lab.views.figures.caption import caption, samples
from overfit_lab.views.figures.draw import draw_curve, legend_above, once
from overfit_lab.views.figures.experiments import by_experiment
from overfit_lab.views.figures.series import Curve, check_some, decays, last_epoch, level_around, title_of
from overfit_lab.views.figures.style import (
    BLACK,
    COLUMN,
    ORANGE,
    PAGE,
    SPLITS,
    epoch_axis,
    new_figure,
    percent_axis,
    style,
)

if TYPE_CHECKING:
    from overfit_lab.probes.metrics.phases import Phases

COLUMNS = 3
NOTE = (
    "gap: train minus test; shaded and bar: 95% intervals; arrow: drop since the peak, of means of a few evaluations "
    "(in the title less what a maximum over noise gives, with its 95% interval); dotted: learning-rate decays"
)
LEAST = 0.01
"""A drop of less has no arrow, whose head would be longer."""


def draw(runs: Sequence[Run]) -> Figure:
    """Train and test accuracy and their gap over epochs, one panel a run, with what the tests say of them.

    Robust accuracy, and clean accuracy of standard training. Where a run overfits, the line is the onset, the epoch
    from which test accuracy falls, in a band that is its 95% interval; the bar on the gap's curve is where that begins
    to grow, with its 95% interval; the arrow is the drop to the end. Seeds are not averaged, since each run is
    tested by itself. These are the numbers of the diagnosis; tests and constants: :mod:`~.metrics.phases` and
    :mod:`~.metrics.unimodal`.

    Raises:
        RunFolderError: no run was evaluated on train and test.

    Cost: below 0.5 s a run.
    """
    check_some(runs, "onset")
    seen = {run: evaluations_of(run) for run in runs}
    groups = {name: [run for run in members if len(seen[run].epochs)] for name, members in by_experiment(runs).items()}
    shown = [run for members in groups.values() for run in members]
    if not shown:
        names = ", ".join(run.name for run in runs[:3])
        raise RunFolderError(f"onset: no accuracy on train and test in {names}; it is recorded while training")
    n_columns = min(COLUMNS, max(map(len, groups.values())))
    places = [
        (name, run) for name, members in groups.items() for run in (*members, *(None,) * (-len(members) % n_columns))
    ]
    last, n_rows = last_epoch(shown), len(places) // n_columns
    with style():
        text = caption(shown, split=_measured(shown, seen), extra=NOTE, shows="each")
        figure = new_figure(PAGE if n_columns > 1 else 1.4 * COLUMN, 1.2 + 1.75 * n_rows, text)
        grid = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True, sharey=True)
        for axes, (name, run) in zip(grid.ravel(), places, strict=True):
            if run is None:
                axes.set_axis_off()
            else:
                _panel(axes, run, seen[run], _title(name, run), last)
        for axes in grid[:, 0]:
            percent_axis(axes, f"{' / '.join(sorted({seen[run].kind for run in shown}, reverse=True))} accuracy, gap")
        legend_above(figure, *once(grid.ravel()), most=5)
    return figure


def in_words(phases: Phases) -> str:
    """The verdict with its numbers, in two lines at most."""
    lines = {
        "none": ["no overfitting"],
        "not enough evidence": ["cannot tell"],
        "catastrophic overfitting": ["catastrophic overfitting"],
        "robust overfitting": ["overfits"],
    }[phases.verdict]
    if phases.peak is not None:
        peak = phases.peak
        lines = [f"overfits from epoch {peak.epoch:.0f} [{peak.low:.0f}, {peak.high:.0f}]"]
    elif phases.collapse is not None:
        lines = [f"catastrophic overfitting after epoch {phases.collapse.before:.0f}"]
    if phases.drop is not None:
        value, low, high = (100 * number for number in (phases.drop.value, phases.drop.low, phases.drop.high))
        lines.append(f"drops {value:.1f} [{low:.1f}, {high:.1f}] points")
    return "\n".join(lines)


def _measured(shown: Sequence[Run], seen: Mapping[Run, Evaluations]) -> str:
    """The numbers of samples of the accuracies, for the caption."""
    kinds = {seen[run].inputs for run in shown}
    field = "acc_adv" if "adversarial" in kinds else "acc_clean"
    n_train, n_test = (samples(shown, "evaluation", field, split, "") for split in ("train", "test"))
    return f"accuracy on {n_train} and {n_test}"


def _title(name: str, run: Run) -> str:
    """The experiment and the seed, where it is known."""
    return f"{title_of(name)}, seed {run.config.seed}" if run.config.knows("seed") else title_of(name)


def _panel(axes: Axes, run: Run, seen: Evaluations, title: str, last: float) -> None:
    both = np.isfinite(seen.train)
    test = Curve(seen.epochs, seen.test, seen.test, seen.test, 1)
    on_train, difference = seen.train[both], (seen.train - seen.test)[both]
    train, gap = (Curve(seen.epochs[both], values, values, values, 1) for values in (on_train, difference))
    if seen.has_train:
        draw_curve(axes, train, "train", **SPLITS["train"])
    draw_curve(axes, test, "test", **SPLITS["test"])
    if seen.has_train:
        draw_curve(axes, gap, "gap", color=BLACK, linestyle=(0, (1, 1)), linewidth=1.1)
    phases = phases_of(run)
    peak = phases.peak
    if peak is not None:
        axes.axvspan(peak.low, peak.high, color=ORANGE, alpha=0.25, linewidth=0, zorder=0.4)
        axes.axvline(peak.epoch, color="#8A5A00", linewidth=1.2, label="onset: test falls", zorder=1.5)
    if overfits(run) and phases.onset is not None:
        knot = phases.onset
        level = float(np.interp(knot.epoch, seen.epochs[both], difference))
        ends = [[knot.epoch - knot.low], [knot.high - knot.epoch]]
        look: dict[str, Any] = {"markerfacecolor": "white", "markersize": 4.5, "elinewidth": 0.9, "capsize": 2}
        axes.errorbar([knot.epoch], [level], xerr=ends, fmt="^", color=BLACK, label="gap grows", zorder=4, **look)
    if phases.drop is not None and overfits(run):
        peak_epoch = phases.drop.peak
        end = float(seen.epochs[-1])
        _fall(axes, peak_epoch, level_around(test, peak_epoch), level_around(test, end), end - 0.03 * last)
    axes.set_title(f"{title}\n{in_words(phases)}", loc="left", fontsize=7, linespacing=1.25)
    epoch_axis(axes, last, decays([run]), shade=False)
    axes.tick_params(labelbottom=True)


def _fall(axes: Axes, epoch: float, top: float, bottom: float, end: float) -> None:
    """An arrow near the end from the level of the peak to the last one's."""
    if top - bottom > LEAST and epoch < end:
        axes.hlines(top, epoch, end, color="black", linewidth=0.6, linestyle=(0, (2, 2)))
        arrow = {"arrowstyle": "->", "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (end, bottom), (end, top), arrowprops=arrow)


REGISTER = {"onset": draw}
