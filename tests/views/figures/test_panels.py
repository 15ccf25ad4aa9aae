"""What every panel of every figure says: a reading that stands alone is seen, no reading is said, ticks are true."""

import json
from fractions import Fraction

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.patches import StepPatch

from overfit_lab.config.catalog import FIGURES
from overfit_lab.errors import RunFolderError
from overfit_lab.records.layout import records_path
from overfit_lab.records.reader import Run
from overfit_lab.views.figures.style import GREY
from run_factory import make_run

ALONE = (4, 10, 16)
"""Epochs with a reading whose neighbours are null."""


def only_alone(row):
    return row if row["epoch"] in ALONE else {**row, "value": None}


def all_null(row):
    return {**row, "value": None}


def clean(row):
    return None if row["inputs"] == "adversarial" else row


RUNS = {
    "one epoch": ({"epochs": 1, "measured": (1,)}, None),
    "alone between nulls": ({}, only_alone),
    "all null": ({}, all_null),
    "clean alone": ({}, clean),
}


def rewritten(run, change):
    """The run with each row of its records changed, or left out where None is given."""
    path = records_path(run.folder)
    rows = [change(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows if row is not None), encoding="utf-8")
    return Run.open(run.folder)


@pytest.fixture(scope="module", params=RUNS)
def runs(request, tmp_path_factory):
    options, change = RUNS[request.param]
    folder = tmp_path_factory.mktemp("runs")
    made = [make_run(folder / labels, labels, **options) for labels in ("hard", "sglr")]
    return made if change is None else [rewritten(run, change) for run in made]


def seen(line):
    """Whether anything of a line is visible: a marker, or a stretch between neighbours that are finite."""
    x, y = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
    finite = np.isfinite(x) & np.isfinite(y)
    every = line.get_markevery()
    marked = finite if every is None else finite[every]
    joined = finite[1:] & finite[:-1] & ((np.diff(x) != 0) | (np.diff(y) != 0))
    has = [mark not in ("", " ", "None", None) for mark in (line.get_marker(), line.get_linestyle())]
    return bool((has[0] and marked.any()) or (has[1] and joined.any()))


def drawn(axes):
    """The artists of a panel that show data, seen or not: no level, decay, diagonal or ideal corner."""
    lines = [
        line
        for line in axes.get_lines()
        if line.get_transform().contains_branch(axes.transData)
        and axes.get_xaxis_transform() != line.get_transform() != axes.get_yaxis_transform()
        and (line.get_color(), line.get_marker()) not in ((GREY, "None"), (GREY, ""))
        and line.get_marker() != "*"
        and np.isfinite(np.asarray(line.get_ydata(), float)).any()
    ]
    dots = [c for c in axes.collections if isinstance(c, PathCollection) and len(c.get_offsets())]
    return lines, dots + [patch for patch in axes.patches if isinstance(patch, StepPatch)]


@pytest.mark.parametrize("name", list(FIGURES))
def test_no_panel_is_empty_without_a_word(name, runs):
    """A line of one point was drawn without a marker, so that a run of one measured epoch had empty panels."""
    try:
        figure = FIGURES[name](runs)
    except RunFolderError:
        return
    panels = [axes for axes in figure.axes if axes.axison]
    assert panels
    for axes in panels:
        assert axes.get_xlabel() != "epoch" or all(float(tick).is_integer() for tick in axes.get_xticks())
        lines, others = drawn(axes)
        says = any(text.get_text().startswith("no ") for text in axes.texts)
        for line in lines:
            assert seen(line) or others, (axes.get_title(loc="left"), line.get_label())
        assert bool(lines or others) != says, axes.get_title(loc="left") or axes.get_title()


def number(text):
    """The number of a label; None where it is a word or in mathematical type."""
    try:
        return float(Fraction(text.replace("\N{MINUS SIGN}", "-").replace(",", "")))
    except ValueError:
        return None


LIMITS = ((0, 1), (0.26, 0.29), (0.265, 0.315), (-0.1234, 0.05), (0.99987, 1.00012), (3, 7_000), (2e-5, 9e-5))


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ordinary")
    return [make_run(folder / labels, labels) for labels in ("hard", "sglr")]


@pytest.mark.parametrize("name", list(FIGURES))
def test_a_tick_says_the_number_that_it_stands_at(name, ordinary):
    """27.5% was written as 28. All labels of an axis are its ticks' numbers, times one factor, such as 100."""
    figure = FIGURES[name](ordinary)
    for axis in [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]:
        for low, high in LIMITS:
            if axis.get_scale() != "linear" and low <= 0:
                continue
            axis.set_view_interval(low, high, ignore=True)
            ticks = axis.get_major_locator()()
            texts = axis.get_major_formatter().format_ticks(ticks)
            offset = axis.get_major_formatter().get_offset()
            pairs = [(tick, number(text)) for tick, text in zip(ticks, texts, strict=True) if number(text) is not None]
            if offset or not pairs:
                continue
            values, shown = np.array(pairs).T
            fits = [np.allclose(shown, k * values, rtol=1e-5, atol=1e-9 * k) for k in (1, 100, 1e-3, 1 / 255)]
            assert any(fits), (axis, texts, ticks)
