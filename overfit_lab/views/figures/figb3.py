"""Fig. B.3 of SGLR: the predicted probability of the labelled class, sample by sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from overfit_lab.errors import RunFolderError
from overfit_lab.records.distributions import Density, density, label_probabilities, nearest_epoch
from overfit_lab.records.reader import Run
from overfit_lab.records.summary import best_epoch
from overfit_lab.views.figures.caption import caption
from overfit_lab.views.figures.draw import BAND, legend_above, note_no_reading
from overfit_lab.views.figures.experiments import by_experiment
from overfit_lab.views.figures.series import check_some, decays, title_of
from overfit_lab.views.figures.style import PAGE, Look, looks_of, new_figure, style

N_BINS = 20
ROWS = ("clean", "adversarial")
COLUMNS = ("best", "final")


def draw(runs: Sequence[Run]) -> Figure:
    """Density of the predicted probability of the labelled class on the test split; one line an experiment.

    Rows are clean and adversarial images, columns the best and the final epoch. The lines are histograms, the mean over
    seeds with a band from the lowest to the highest; the stem is the mean probability. The best epoch is
    that of the best robust accuracy, or the measured one nearest to it in the same stage of the learning rate, which
    the caption then says.

    Raises:
        RunFolderError: no run has the confidence probe's arrays.
    """
    check_some(runs, "figb3")
    groups = {name: with_arrays(members) for name, members in by_experiment(runs).items()}
    groups = {name: members for name, members in groups.items() if members}
    if not groups:
        raise RunFolderError(
            f"figb3: no confidence arrays in {', '.join(run.name for run in runs[:3])}; "
            "record them by `overfit-lab probe RUN --metric confidence --checkpoint all`"
        )
    looks = looks_of(list(groups))
    drawn = [run for members in groups.values() for run in members]
    histograms = {(i, c): densities(groups, i, c) for i in ROWS for c in COLUMNS}
    counts = sorted({part.n_samples for parts in histograms.values() for part in parts.values()})
    with style():
        measured = f"{' to '.join(f'{n:,}' for n in dict.fromkeys((counts[0], counts[-1])))} test images"
        note = f"histograms of {N_BINS} bins; stems: means; best epoch as measured (as evaluated): "
        note += _best_in_words(groups)
        figure = new_figure(PAGE, 4.3, caption(drawn, split=measured, extra=note))
        grid = figure.subplots(2, 2, sharex=True, sharey="row")
        for (inputs, column), axes, letter in zip(histograms, grid.ravel(), "abcd", strict=True):
            for name, part in histograms[inputs, column].items():
                _steps(axes, part, looks[name])
            if not histograms[inputs, column]:
                note_no_reading(axes)
            axes.set_title(f"({letter}) {inputs} test images, {column} epoch", loc="left")
            axes.set_xlim(0, 1)
        for row in grid:
            row[0].set_ylim(bottom=0)
            row[0].set_ylabel("density")
        for axes in grid[1]:
            axes.set_xlabel("probability of the labelled class")
        handles = [Line2D([], [], marker=looks[name].marker, **looks[name].line()) for name in groups]
        legend_above(figure, handles, [title_of(name) for name in groups])
    return figure


def with_arrays(runs: Sequence[Run]) -> list[Run]:
    """The runs that kept label probabilities of clean or adversarial test images."""
    wanted = [(column, inputs) for column in COLUMNS for inputs in ROWS]
    return [
        run
        for run in runs
        if _epochs(run) and any(label_probabilities(run, epoch_of(run, c), "test", i) is not None for c, i in wanted)
    ]


def epoch_of(run: Run, column: str) -> int:
    """The measured epoch that stands for the run's best or final one."""
    epochs = _epochs(run)
    return epochs[-1] if column == "final" else nearest_epoch(epochs, best_epoch(run).epoch, decays([run]))


def densities(groups: Mapping[str, list[Run]], inputs: str, column: str) -> dict[str, Density]:
    """The density of each experiment that has it, at each run's own best or final epoch."""
    by_name = {}
    for name, members in groups.items():
        parts = [label_probabilities(run, epoch_of(run, column), "test", inputs) for run in members]
        present = [part for part in parts if part is not None and len(part)]
        if present:
            by_name[name] = density(present, N_BINS)
    return by_name


def _epochs(run: Run) -> list[int]:
    return run.epochs_with_arrays("confidence")


def _best_in_words(groups: Mapping[str, list[Run]]) -> str:
    phrases = []
    for name, members in groups.items():
        pairs = [(epoch_of(run, "best"), best_epoch(run).epoch) for run in members]
        near = ", ".join(f"{measured}" if measured == best else f"{measured} ({best})" for measured, best in pairs)
        phrases.append(f"{title_of(name)} {near}")
    return "; ".join(phrases)


def _steps(axes: Axes, part: Density, look: Look) -> None:
    axes.stairs(part.mean, part.edges, linewidth=1.2, **look.line())
    if part.n_runs > 1:
        axes.stairs(part.high, part.edges, baseline=part.low, fill=True, color=look.color, alpha=BAND, linewidth=0)
    mark: dict[str, Any] = {"color": look.color, "marker": look.marker, "markersize": 5.0, "zorder": 5}
    axes.plot([part.average] * 2, [0, 0.10], transform=axes.get_xaxis_transform(), markevery=[1], clip_on=False, **mark)


REGISTER = {"figb3": draw}
