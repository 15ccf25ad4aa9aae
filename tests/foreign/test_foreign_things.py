"""Foreign loops, weights files and data sets: what becomes of each is what the page says."""

import re
from pathlib import Path

import pytest

from foreign.foreign_page import TABLES, page_with
from overfit_lab.errors import OverfitLabError

ROOT = Path(__file__).parents[2]
CASES = [case for cases in TABLES.values() for case in cases]
RUN, HELD = [case for case in CASES if case.run], [case for case in CASES if case.held_by]


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OVERFIT_LAB_CACHE", str(tmp_path / "cache"))


@pytest.mark.filterwarnings("ignore")  # those of the tools
@pytest.mark.parametrize("case", RUN, ids=lambda case: f"{case.what} ({case.tool})")
def test_what_becomes_of_it(case, tmp_path):
    for package in case.needs:
        name, _, version = package.partition(">=")
        pytest.importorskip(name, minversion=version or None)
    folder = tmp_path / "first"
    folder.mkdir()
    if case.refused:
        with pytest.raises(OverfitLabError) as caught:
            case.run(folder, "")
        line, expected = str(caught.value).replace(str(folder), "DIR"), case.refused.removesuffix("...")
        assert line == expected or (case.refused.endswith("...") and line.startswith(expected))
        assert "\n" not in line
    elif case.option:
        with pytest.raises(AssertionError):
            case.run(folder, "")
    else:
        case.run(folder, "")
    if case.option:
        (tmp_path / "second").mkdir()
        case.run(tmp_path / "second", case.option)


@pytest.mark.parametrize("case", HELD, ids=lambda case: case.what)
def test_what_a_neighbour_holds_is_there(case):
    file, name = case.held_by.split("::")
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.M)


def test_the_page_has_the_tables():
    text = (ROOT / "docs" / "foreign.md").read_text(encoding="utf-8")
    assert page_with(text) == text, "run python docs/draw_foreign.py"
