"""Committed records as they stand in their files, read without the package: oracles of the figures' numbers."""

import json
from functools import cache
from pathlib import Path

import numpy as np

from overfit_lab.records.reader import find_runs

REFERENCE = Path(__file__).parents[1] / "runs" / "reference"


@cache
def committed(*patterns):
    """Runs of the committed folders that match; to be read alone, for all tests get the same ones."""
    folders = [path for pattern in patterns for path in sorted(REFERENCE.glob(pattern)) if path.is_dir()]
    return tuple(find_runs(folders))


@cache
def rows(folder):
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


def values(folder, probe, field, split, inputs):
    """Epoch to value, from the lines of the record file."""
    found = {}
    for row in rows(folder):
        if (row["probe"], row["field"], row["split"], row["inputs"]) == (probe, field, split, inputs):
            found[row["epoch"]] = row["value"]
    assert found, (folder, probe, field)
    return found


def over_seeds(pattern, *key):
    """Epochs (E,) and values of all matching run folders (seeds, E)."""
    folders = sorted(path for path in REFERENCE.glob(pattern) if path.is_dir())
    assert folders, pattern
    series = [values(folder, *key) for folder in folders]
    epochs = sorted(series[0])
    assert all(sorted(one) == epochs for one in series)
    return np.array(epochs), np.array([[one[epoch] for epoch in epochs] for one in series])


def band(axes, color):
    """Lower and upper edge (E,) of the one band of a colour."""
    from matplotlib.collections import FillBetweenPolyCollection
    from matplotlib.colors import to_rgb

    (found,) = [
        part
        for part in axes.collections
        if isinstance(part, FillBetweenPolyCollection) and np.allclose(part.get_facecolor()[0][:3], to_rgb(color))
    ]
    points = found.get_paths()[0].vertices
    epochs = np.unique(points[:, 0])
    edges = [points[points[:, 0] == epoch, 1] for epoch in epochs]
    return np.array([edge.min() for edge in edges]), np.array([edge.max() for edge in edges])


def curves(axes):
    """The curves of a panel, without marks, strokes and levels."""
    return [line for line in axes.get_lines() if len(line.get_xdata()) > 2]


def assert_draws(line, axes, epochs, found):
    """A line is the mean over seeds (seeds, E), and its band, where there are several, goes from lowest to highest."""
    np.testing.assert_array_equal(line.get_xdata(), epochs)
    np.testing.assert_allclose(line.get_ydata(), found.mean(0), rtol=1e-12)
    if len(found) > 1:
        low, high = band(axes, line.get_color())
        np.testing.assert_allclose(low, found.min(0), rtol=1e-12)
        np.testing.assert_allclose(high, found.max(0), rtol=1e-12)


def check_print(figure):
    """What every printed figure must have: labels that are apart, legends beside the data, a width of the format."""
    from overfit_lab.views.figures.style import COLUMN, PAGE, style

    assert figure.get_figwidth() in (COLUMN, PAGE)
    with style():
        figure.draw_without_rendering()
    boxes = [axes.get_window_extent() for axes in figure.axes if axes.axison]
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend() is not None)]
    assert legends
    page = figure.bbox
    for legend in legends:
        box = legend.get_window_extent()
        assert not any(box.overlaps(panel) for panel in boxes), "a legend covers data"
        assert page.x0 <= box.x0 < box.x1 <= page.x1
        assert box.y1 <= page.y1
    labels = [axes.yaxis.label for axes in figure.axes if axes.axison and axes.yaxis.label.get_text()]
    extents = [label.get_window_extent() for label in labels]
    for i, one in enumerate(extents):
        assert page.y0 <= one.y0 < one.y1 <= page.y1
        assert not any(one.overlaps(other) for other in extents[:i]), "labels of axes overlap"
