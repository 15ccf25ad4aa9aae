"""One run at one epoch, or at a few side by side: the map of its features, its reliability, its confidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from overfit_lab.errors import ConfigError, RunFolderError
from overfit_lab.records.reader import Run
from overfit_lab.views.figures.caption import caption
from overfit_lab.views.figures.fig5 import VIEWS, Map, map_at, scatter
from overfit_lab.views.figures.series import shares_by_bin
from overfit_lab.views.figures.style import BLUE, COLUMN, GREY, PAGE, VERMILLION, Look, new_figure, percent_axis, style

LOOKS: Mapping[str, Look] = {"clean": Look(BLUE, (0, (4, 2)), "s"), "adversarial": Look(VERMILLION, "-", "o")}
N_BINS = 20
Epochs = int | Sequence[int]
Panel = Callable[[Axes, int], None]


def draw_map(run: Run, epochs: Epochs) -> Figure:
    """The t-SNE map of the penultimate features, coloured by the true class, a panel an epoch.

    All panels have the same axes, wide enough for every map of the run: with ``tsne: always`` a map goes on from the
    one before it, so that a class can be followed from panel to panel.

    Raises:
        RunFolderError: the run has no map.
        ConfigError: none at that epoch.
    """
    chosen = _chosen(run, "map", epochs)
    (split, inputs), every = _maps(run)
    points = np.concatenate([tsne_map.points for tsne_map in every.values()])
    low, high = points.min(0), points.max(0)
    center, reach = (low + high) / 2, 0.54 * (high - low).max()

    def panel(axes: Axes, epoch: int) -> None:
        scatter(axes, every[epoch])
        axes.set_xlim(center[0] - reach, center[0] + reach)
        axes.set_ylim(center[1] - reach, center[1] + reach)
        axes.set_aspect("equal")

    n = len(every[chosen[0]].points)
    return _figure(run, chosen, panel, f"t-SNE of penultimate features of {n} {inputs} {split} images, true classes")


def draw_reliability(run: Run, epochs: Epochs) -> Figure:
    """Accuracy over confidence on test images, a panel an epoch; on the diagonal the model is as sure as it is right.

    The area of a dot grows with the bin's share of the samples.

    Raises:
        RunFolderError: the run has no reliability bins.
        ConfigError: none at that epoch.
    """
    chosen = _chosen(run, "reliability", epochs)

    def panel(axes: Axes, epoch: int) -> None:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (1, 2)))
        errors = []
        for inputs, bins in _of_inputs(run, "calibration", epoch, "reliability").items():
            used = bins[bins[:, 2] > 0]
            share = used[:, 2] / used[:, 2].sum()
            look, sizes = LOOKS[inputs], 4 + 160 * np.minimum(share, 0.5)
            axes.plot(used[:, 0], used[:, 1], linewidth=0.9, **look.line())
            axes.scatter(used[:, 0], used[:, 1], s=sizes, color=look.color, marker=look.marker, alpha=0.8, linewidths=0)
            error = run.value_at(epoch, "calibration", "ece", "test", inputs)
            errors += [f"{error:.2f}"] if error is not None else []
        axes.set(xlim=(0, 1), ylim=(0, 1.03), xticks=[0, 0.5, 1], aspect="equal")
        axes.set_xlabel("confidence" + (f"\nECE {' / '.join(errors)}" if errors else ""))

    bins_of = _of_inputs(run, "calibration", chosen[0], "reliability")
    drawn, n_bins = _inputs(bins_of), len(next(iter(bins_of.values())))
    n = int(max(bins[:, 2].sum() for bins in bins_of.values()))
    note = f"{n:,} test images, {n_bins} equal-width bins, dots by their share of the images; ECE: {' / '.join(drawn)}"
    return _figure(run, chosen, panel, note, "accuracy", inputs=drawn)


def draw_confidence(run: Run, epochs: Epochs) -> Figure:
    """How the probability of the labelled class is spread over test images, a panel an epoch, all on the same axes.

    Raises:
        RunFolderError: the run has no probabilities.
        ConfigError: none at that epoch.
    """
    chosen = _chosen(run, "confidence", epochs)
    every = {
        epoch: {
            inputs: shares_by_bin(probabilities, N_BINS)
            for inputs, probabilities in _of_inputs(run, "confidence", epoch, "label-prob").items()
        }
        for epoch in epochs_of(run, "confidence")
    }
    highest = max(shares.max() for by_inputs in every.values() for shares in by_inputs.values())
    edges = np.linspace(0, 1, N_BINS + 1)

    def panel(axes: Axes, epoch: int) -> None:
        for inputs, shares in every[epoch].items():
            look = LOOKS[inputs]
            axes.stairs(shares, edges, color=look.color, alpha=0.15, fill=True)
            axes.stairs(shares, edges, color=look.color, linestyle=look.linestyle, linewidth=1.3)
        axes.set(xlim=(0, 1), ylim=(0, 1.05 * highest), xticks=[0, 0.5, 1], xlabel="probability of the label")
        percent_axis(axes, "share of images")
        axes.label_outer()

    n = max(map(len, _of_inputs(run, "confidence", chosen[0], "label-prob").values()))
    note = f"given labels of {n:,} test images, {N_BINS} bins"
    return _figure(run, chosen, panel, note, inputs=_inputs(every[chosen[0]]))


Draw = Callable[[Run, Epochs], Figure]
FIGURES: Mapping[str, Draw] = {"map": draw_map, "reliability": draw_reliability, "confidence": draw_confidence}
PROBES = {
    "map": ("features", "tsne-"),
    "reliability": ("calibration", "reliability-test-"),
    "confidence": ("confidence", "label-prob-test-"),
}
"""Source of each figure: a probe, and the prefix of its arrays' names."""


def epochs_of(run: Run, figure: str) -> list[int]:
    """The epochs at which a run has the arrays for a figure of :data:`FIGURES`, in order."""
    probe, begins = PROBES[figure]
    return [e for e in run.epochs_with_arrays(probe) if any(name.startswith(begins) for name in run.arrays(probe, e))]


def spread(epochs: Sequence[int], n: int = 4) -> list[int]:
    """At most ``n`` of some epochs, evenly spread, with the first and the last.

    Example:
        >>> spread([5, 10, 15, 20, 25, 30], 3)
        [5, 20, 30]
    """
    return [epochs[int(place + 0.5)] for place in np.linspace(0, len(epochs) - 1, min(n, len(epochs)))]


def _chosen(run: Run, figure: str, epochs: Epochs) -> list[int]:
    """The epochs asked for.

    Raises:
        RunFolderError: the run has nothing to draw the figure from.
        ConfigError: not at one of these epochs, or none asked for.
    """
    have = epochs_of(run, figure)
    if not have:
        probe, _ = PROBES[figure]
        asked = ", with its option `tsne: always` for more than the last epoch" if figure == "map" else ""
        raise RunFolderError(f"{run.folder}: nothing to draw {figure} from; the probe {probe} records it{asked}")
    chosen = [epochs] if isinstance(epochs, int | np.integer) else list(epochs)
    for epoch in chosen:
        if epoch not in have:
            raise ConfigError(f"epoch {epoch}: {figure} was recorded at {', '.join(map(str, have))}")
    if not chosen:
        raise ConfigError(f"epochs []: expected some of {', '.join(map(str, have))}")
    return [int(epoch) for epoch in chosen]


def _figure(
    run: Run, epochs: Sequence[int], panel: Panel, note: str, vertical: str = "", inputs: Sequence[str] = ()
) -> Figure:
    with style():
        width = min(PAGE, max(COLUMN, 1.75 * len(epochs)))
        height = 1.1 + 0.85 * min(width / len(epochs), 3.0)
        figure = new_figure(width, height, caption([run], split=note))
        row = figure.subplots(1, len(epochs), squeeze=False, sharey=True)[0]
        for axes, epoch in zip(row, epochs, strict=True):
            panel(axes, epoch)
            axes.set_title(f"epoch {epoch}", loc="left")
        if vertical:
            row[0].set_ylabel(vertical)
        if inputs:
            handles = [Line2D([], [], label=f"{name} images", **LOOKS[name].line()) for name in inputs]
            figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return figure


def _inputs(arrays: Mapping[str, object]) -> list[str]:
    """The kinds of inputs that the arrays have, for the legend."""
    return [name for name in LOOKS if name in arrays]


def _of_inputs(run: Run, probe: str, epoch: int, array: str) -> dict[str, np.ndarray]:
    """A probe's array on test images, for each kind of inputs that has it."""
    arrays = run.arrays(probe, epoch)
    return {inputs: arrays[key] for inputs in LOOKS if (key := f"{array}-test-{inputs}") in arrays}


def _maps(run: Run) -> tuple[tuple[str, str], dict[int, Map]]:
    """Split and inputs for which the run has a map at every epoch, and the maps."""
    epochs = epochs_of(run, "map")
    for view in VIEWS:
        maps = {epoch: part for epoch in epochs if (part := map_at(run, epoch, *view)) is not None}
        if len(maps) == len(epochs):
            return view, maps
    raise RunFolderError(f"{run.folder}: its t-SNE maps are of different splits or inputs")
