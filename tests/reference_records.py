"""Committed records read without the package's reader, and what figures drew of them."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.collections import PolyCollection

from overfit_lab.records.reader import Run

FOLDER = Path(__file__).parents[1] / "runs" / "reference"
KEY = ["epoch", "probe", "field", "split", "inputs", "n"]


@dataclass(frozen=True)
class Entry:
    """What is to be seen in a registered figure of committed runs.

    Args:
        figure: its registered name.
        patterns: of folders below runs/reference; every one must match some.
        check: takes the figure and the runs' folders, and asserts.
    """

    figure: str
    patterns: Sequence[str]
    check: Callable

    @property
    def folders(self):
        found = [sorted(FOLDER.glob(pattern)) for pattern in self.patterns]
        assert all(found), f"{self.figure}: no run for one of {self.patterns}"
        return [folder for part in found for folder in part]

    @property
    def runs(self):
        return [Run.open(folder) for folder in self.folders]


@cache
def rows(folder):
    """Every line of a run's records; of two of the same number the one measured later stands."""
    paths = [folder / name for name in ("records.jsonl", "records-posthoc.jsonl")]
    lines = [line for path in paths if path.is_file() for line in path.read_text().splitlines()]
    return pd.DataFrame(map(json.loads, lines)).drop_duplicates(KEY, keep="last")


def table(folders, probe, field, split="", inputs=""):
    """One number, epochs by runs, at the epochs that all of them have it; split and inputs as in the file."""
    columns = []
    for folder in folders:
        frame = rows(folder)
        mine = frame[(frame.probe == probe) & (frame.field == field) & (frame.split == split)]
        mine = mine[mine.inputs == inputs].sort_values("n").drop_duplicates("epoch", keep="last")
        columns.append(mine.set_index("epoch")["value"].astype(float))
    found = pd.concat(columns, axis=1, join="inner").sort_index().dropna()
    assert len(found), (probe, field, split, inputs)
    return found


def arrays(folder, probe, epoch):
    """The arrays of a probe."""
    return dict(np.load(folder / "arrays" / f"{probe}-{epoch:04d}.npz"))


def of(folders, text):
    """The folders whose name begins so."""
    found = [folder for folder in folders if folder.name.startswith(text)]
    assert found, text
    return found


def titles(figure):
    """Of every panel, whichever side they are on."""
    return [axes.get_title(loc="left") or axes.get_title() for axes in figure.axes]


def legend_names(figure):
    """Names in all legends, those of the figure first."""
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


def caption(figure):
    return figure.get_supxlabel().replace("\n", " ")


def line(axes, label):
    """The one line of a panel that has this label, or the one of this number."""
    if isinstance(label, int):
        return axes.get_lines()[label]
    (found,) = [drawn for drawn in axes.get_lines() if drawn.get_label() == label]
    return found


def assert_curve(axes, label, expected):
    """A line is the mean over runs, and there is a band from the lowest to the highest where there are several."""
    drawn = line(axes, label)
    np.testing.assert_array_equal(drawn.get_xdata(), expected.index)
    np.testing.assert_allclose(np.asarray(drawn.get_ydata(), float), expected.mean(axis=1), rtol=1e-9)
    if expected.shape[1] > 1:
        assert _has_band(axes, drawn.get_color(), expected), f"no band for {label}"


def _has_band(axes, color, expected):
    want = {(x, y) for part in (expected.min(axis=1), expected.max(axis=1)) for x, y in part.items()}
    for band in axes.collections:
        if isinstance(band, PolyCollection) and _same_color(band, color):
            seen = np.concatenate([path.vertices for path in band.get_paths()])
            if all(np.isclose(seen, point, rtol=1e-9, atol=1e-12).all(axis=1).any() for point in want):
                return len(np.unique(seen[:, 0])) == len(expected)
    return False


def _same_color(band, color):
    from matplotlib.colors import to_rgb

    return len(band.get_facecolor()) and np.allclose(band.get_facecolor()[0][:3], to_rgb(color))


def assert_decays(axes, folder):
    """Dotted lines at the decays that run.json names."""
    marks = {drawn.get_xdata()[0] for drawn in axes.get_lines() if len(set(drawn.get_xdata())) == 1}
    assert set(json.loads((folder / "run.json").read_text())["decay_epochs"]) <= marks
