"""Every registered figure, drawn from committed records, shows what the records say.

A new figure adds a file ``reference_NAME.py`` beside this one with ``ENTRIES``, a list of
:class:`reference_records.Entry`.
"""

import importlib
from pathlib import Path

import matplotlib as mpl
import pytest

from overfit_lab.config.catalog import FIGURES

MODULES = [importlib.import_module(path.stem) for path in sorted(Path(__file__).parent.glob("reference_*.py"))]
ENTRIES = [entry for module in MODULES for entry in module.ENTRIES]


@pytest.mark.parametrize("name", list(FIGURES))
def test_every_registered_figure_is_drawn_from_committed_records(name):
    assert name in {entry.figure for entry in ENTRIES}, f"add tests/views/figures/reference_{name.replace('-', '_')}.py"


def test_every_entry_is_of_a_registered_figure():
    assert {entry.figure for entry in ENTRIES} <= set(FIGURES)


@pytest.mark.parametrize("entry", ENTRIES, ids=[f"{e.figure}-{e.patterns[0].partition('-seed')[0]}" for e in ENTRIES])
def test_shows_what_the_records_say(entry):
    before = dict(mpl.rcParams)
    figure = FIGURES[entry.figure](entry.runs)
    entry.check(figure, entry.folders)
    assert dict(mpl.rcParams) == before
    caption = figure.get_supxlabel().replace("\n", " ")
    assert "n train" in caption
    assert caption.endswith(".")
    figure.canvas.draw()
    for legend in figure.legends:
        box = legend.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert all(box.y0 >= axes.get_window_extent().y1 - 1 for axes in figure.axes)
