"""The page of operating characteristics: that it is what its numbers say, and that they are those of the judge."""

import importlib.util
import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "docs" / "draw_operating.py"


@pytest.fixture(scope="module")
def page():
    spec = importlib.util.spec_from_file_location("draw_operating", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def cells(page):
    return json.loads(page.NUMBERS.read_text())["cells"]


def test_the_page_is_rendered_from_its_numbers(page):
    assert page.PAGE.read_text(encoding="utf-8") == page.render(), "run `python docs/draw_operating.py`"


def test_the_worst_cells_keep_what_is_promised(page, cells):
    """Intervals hold the drop in 90% at least, false alarms are 5% at most, 5 points are found."""
    assert page.counted(cells) == list(page.COUNTS)
    for kind in page.KINDS:
        for n in page.counted(cells):
            assert min(cells[f"{kind}/{n}/{drop:g}"]["covers"] for drop in page.DROPS) >= 0.9, (kind, n)
    alarms = {name: cell["yes"] for name, cell in cells.items() if name.endswith("/0")}
    assert max(alarms.values()) <= 0.05, max(alarms, key=alarms.get)
    assert cells["independent/50/0.05"]["yes"] >= 0.9


@pytest.mark.parametrize("name", ["stepped/50/0.03", "correlated/25/0.03"])
def test_the_numbers_are_those_of_the_judge(page, cells, name):
    kind, n, drop = name.split("/")
    assert page.cell(kind, int(n), float(drop)) == pytest.approx(cells[name], abs=0.021)
