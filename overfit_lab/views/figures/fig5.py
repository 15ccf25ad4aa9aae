"""Fig. 5 of SGLR: maps of the learned features under label noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from overfit_lab.errors import RunFolderError
from overfit_lab.records.reader import Run
from overfit_lab.views.figures.caption import caption, samples
from overfit_lab.views.figures.draw import empty_note, legend_above, once
from overfit_lab.views.figures.experiments import standard_of
from overfit_lab.views.figures.literal import formula
from overfit_lab.views.figures.series import by_labels, check_some, noise_rate, title_of
from overfit_lab.views.figures.style import PAGE, new_figure, style

MARKERS = "osD^v<>PX*"
VIEWS = (("test", "clean"), ("test", "adversarial"), ("train", "clean"))
"""Split and inputs of the maps, the first that any run has is drawn."""


class Map(NamedTuple):
    """A t-SNE map: points (n, 2), their classes (n,), and the silhouette of the features where it was measured."""

    points: np.ndarray
    classes: np.ndarray
    silhouette: float | None


def draw(runs: Sequence[Run]) -> Figure:
    """A grid of t-SNE maps of penultimate features: label modes by noise rates, coloured by the true class.

    The maps are of clean test images, or of the first other view that runs have; the caption says which. Each is the
    run's last. Of several runs in a cell the first is drawn, and where some runs are standard training, only those.
    The silhouette of the features (not of the map) is beside each map.

    Raises:
        RunFolderError: no run has a map of the features probe.
    """
    check_some(runs, "fig5")
    split, inputs, with_map = _drawable(runs)
    with_map = standard_of(with_map) or with_map
    groups = by_labels(with_map)
    rates = sorted({noise_rate(run) for run in with_map})
    with style():
        height = 0.75 + 1.72 * len(groups) * min(1.0, 4 / max(len(rates), 2))
        width = PAGE * min(1.0, (0.6 + len(rates)) / 4.6) if len(rates) < 4 else PAGE
        measured = samples(with_map, "features", "silhouette", split, inputs)
        note = f"penultimate features of {measured} at the last epoch, true classes"
        figure = new_figure(max(width, 3.4), height, caption(with_map, split=note, shows="first"))
        grid = figure.subplots(len(groups), len(rates), squeeze=False)
        for row, (name, members) in enumerate(groups.items()):
            for column, rate in enumerate(rates):
                axes = grid[row][column]
                tsne_map = next((last_map(run, split, inputs) for run in members if noise_rate(run) == rate), None)
                if tsne_map is None:
                    empty_note(axes, "no run")
                else:
                    scatter(axes, tsne_map)
                if row == 0:
                    formula(axes.set_title(rf"$\eta$ = {rate:g}"))
                if column == 0:
                    axes.set_ylabel(title_of(name).replace(", ", ",\n"))
        handles, names = once(grid.ravel())
        titles = [f"class {name}" if i == 0 else name for i, name in enumerate(names)]
        legend_above(figure, handles, titles, most=len(names), markerscale=2.2)
    return figure


def _drawable(runs: Sequence[Run]) -> tuple[str, str, list[Run]]:
    for split, inputs in VIEWS:
        with_map = [run for run in runs if last_map(run, split, inputs) is not None]
        if with_map:
            return split, inputs, with_map
    raise RunFolderError("fig5: no t-SNE map; record it by `overfit-lab probe RUN --metric features`")


def last_map(run: Run, split: str, inputs: str) -> Map | None:
    """The run's last map of one split and kind of inputs; None where it has none."""
    maps = (map_at(run, epoch, split, inputs) for epoch in reversed(run.epochs_with_arrays("features")))
    return next((tsne_map for tsne_map in maps if tsne_map is not None), None)


def map_at(run: Run, epoch: int, split: str, inputs: str) -> Map | None:
    """The run's map at an epoch; None where it has none."""
    arrays, key = run.arrays("features", epoch), f"{split}-{inputs}"
    if f"tsne-{key}" not in arrays:
        return None
    score = run.value_at(epoch, "features", "silhouette", split, inputs)
    return Map(arrays[f"tsne-{key}"], arrays[f"label-{key}"], score)


def scatter(axes: Axes, tsne_map: Map) -> None:
    """Draw a map into a panel: a colour and a marker a class, the silhouette below."""
    from seaborn import color_palette

    points, labels, score = tsne_map
    colors = color_palette("colorblind", 10)
    for label in np.unique(labels):
        chosen = labels == label
        marker = MARKERS[int(label) % len(MARKERS)]
        color = tuple(colors[int(label) % 10])
        look: dict[str, Any] = {"s": 3.5, "color": color, "marker": marker, "linewidths": 0}
        axes.scatter(points[chosen, 0], points[chosen, 1], label=f"{int(label)}", **look)
    if score is not None:
        axes.set_xlabel(f"silhouette {score:.2f}", fontsize=6.5, labelpad=2)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    axes.spines[["top", "right"]].set_visible(True)


REGISTER = {"fig5": draw}
