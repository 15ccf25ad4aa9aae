"""From when on a run overfits robustly, and how much it loses: the tested onset on the curves that it was found in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from overfit_lab.diagnosis.phases_of import phases_of
from overfit_lab.errors import RunFolderError
from overfit_lab.figures.caption import caption, samples
from overfit_lab.figures.draw import draw_curve, legend_above, once
from overfit_lab.figures.experiments import by_experiment
from overfit_lab.figures.series import check_some, curve, decays, gap, last_epoch, level_around, title_of
from overfit_lab.figures.style import (
    BLACK,
    BLUE,
    COLUMN,
    ORANGE,
    PAGE,
    TEST_STYLE,
    TRAIN_STYLE,
    VERMILLION,
    epoch_axis,
    mark_stages,
    new_figure,
    percent_axis,
    style,
)
from overfit_lab.runs.reader import Run

if TYPE_CHECKING:
    from overfit_lab.metrics.phases import Phases

COLUMNS = 3
LEAST = 0.01
"""A loss of less has no arrow, whose head would be longer."""


def draw(runs: Sequence[Run]) -> Figure:
    """Robust train and test accuracy and their gap over epochs, one panel a run, with what the tests say of them.

    The line is the onset, the epoch at which the gap begins to grow, in a band that is its 95% interval; the diamond is
    the peak of test accuracy, the arrow what is lost from there to the end. Seeds are not averaged, since each run is
    tested by itself. Tests and their constants: :mod:`overfit_lab.metrics.phases`.

    Args:
        runs: runs that were evaluated under attack on train and test.

    Raises:
        RunFolderError: none was.

    Cost: below 0.5 s a run.
    """
    check_some(runs, "onset")
    groups = {name: [run for run in members if gap([run])] for name, members in by_experiment(runs).items()}
    shown = [run for members in groups.values() for run in members]
    if not shown:
        names = ", ".join(run.name for run in runs[:3])
        raise RunFolderError(f"onset: no acc_adv on train and test in {names}; it is recorded while training")
    n_columns = min(COLUMNS, max(map(len, groups.values())))
    places = [(name, run) for name, members in groups.items() for run in _padded(members, n_columns)]
    last, n_rows = last_epoch(shown), len(places) // n_columns
    with style():
        n_train, n_test = (samples(shown, "evaluation", "acc_adv", split, "") for split in ("train", "test"))
        note = "gap: train minus test; band: 95% interval of the onset; arrow: loss since the peak, of means of three "
        note += "evaluations (in the title less what a maximum over noise gives); dotted: learning-rate decays"
        text = caption(shown, split=f"accuracy on {n_train} and {n_test}", extra=note, shows="each")
        figure = new_figure(PAGE if n_columns > 1 else 1.4 * COLUMN, 1.2 + 1.75 * n_rows, text)
        grid = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True, sharey=True)
        for axes, (name, run) in zip(grid.ravel(), places, strict=True):
            if run is None:
                axes.set_axis_off()
            else:
                _panel(axes, run, f"{title_of(name)}, seed {run.config.seed}", last)
        for axes in grid[:, 0]:
            percent_axis(axes, "robust accuracy, gap")
        legend_above(figure, *once(grid.ravel()), most=5)
    return figure


def in_words(found: Phases) -> str:
    """The verdict with its numbers, in two lines at most."""
    lines: list[str] = ["no robust overfitting" if found.verdict == "none" else found.verdict]
    if found.onset is not None:
        lines[0] += f", onset {found.onset.epoch:.0f} [{found.onset.low:.0f}, {found.onset.high:.0f}]"
    if found.fall is not None:
        loss, error = 100 * found.fall.loss, 100 * found.fall.stderr
        lines.append(f"loses {loss:.1f} ± {error:.1f} points since epoch {found.fall.peak_epoch:.0f}".replace("-", "−"))
    return "\n".join(lines)


def _padded(members: Sequence[Run], n: int) -> list[Run | None]:
    """The runs, and None up to whole rows."""
    return [*members, *[None] * (-len(members) % n)]


def _panel(axes: Axes, run: Run, title: str, last: float) -> None:
    train, test = (curve([run], "evaluation", "acc_adv", split, "adversarial") for split in ("train", "test"))
    draw_curve(axes, train, "robust train", color=VERMILLION, linestyle=TRAIN_STYLE)
    draw_curve(axes, test, "robust test", color=BLUE, linestyle=TEST_STYLE)
    draw_curve(axes, gap([run]), "gap", color=BLACK, linestyle=(0, (1, 1)), linewidth=1.1)
    found = phases_of(run)
    if found.onset is not None:
        axes.axvspan(found.onset.low, found.onset.high, color=ORANGE, alpha=0.25, linewidth=0, zorder=0.4)
        axes.axvline(found.onset.epoch, color="#8A5A00", linewidth=1.2, label="onset", zorder=1.5)
    if found.fall is not None and test is not None:
        peak = found.fall.peak_epoch
        _fall(axes, peak, level_around(test, peak), level_around(test, last), 0.97 * last)
    axes.set_title(f"{title}\n{in_words(found)}", loc="left", fontsize=7, linespacing=1.25)
    epoch_axis(axes, last)
    mark_stages(axes, decays([run]), last, shade=False)
    axes.tick_params(labelbottom=True)


def _fall(axes: Axes, epoch: float, top: float, bottom: float, at: float) -> None:
    """The peak, and an arrow near the end from its level to the last one's."""
    look: dict[str, Any] = {"color": BLUE, "markeredgecolor": "black", "markeredgewidth": 0.6, "zorder": 4}
    axes.plot([epoch], [top], marker="D", markersize=4, linestyle="", label="peak", **look)
    if top - bottom > LEAST and epoch < at:
        axes.hlines(top, epoch, at, color="black", linewidth=0.6, linestyle=(0, (2, 2)))
        arrow = {"arrowstyle": "->", "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (at, bottom), (at, top), arrowprops=arrow)


REGISTER = {"onset": draw}
