"""Nothing is lost, whatever file operation fails or is the last one before a kill. All of them: `make faults`."""

import json

import pytest

from faults import faults_page
from faults.faulty_disk import KINDS, Fault
from faults.scenarios import SCENARIOS
from faults.trials import count, prepare, problems_of

SLICE = [
    ("train", "kill"),
    ("train", "power"),
    ("train", "ENOSPC"),
    ("resume", "tear"),
    ("resume", "power-names"),
    ("probe", "kill"),
    ("probe", "EACCES"),
    ("evaluate", "kill"),
    ("evaluate", "EROFS"),
    ("check", "tear"),
    ("sweep", "kill"),
    ("sweep", "EMFILE"),
    ("table", "EIO"),
    ("monitor", "EDQUOT"),
    ("import", "power"),
]
"""Each command and each kind of fault once or more, in the middle; `make faults` tries them all."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Templates and final states, made once."""
    made = {}

    def get(name):
        if name not in made:
            template = tmp_path_factory.mktemp("faults") / name
            made[name] = template, prepare(SCENARIOS[name], template)
        return made[name]

    return get


@pytest.mark.parametrize(("name", "kind"), SLICE)
def test_a_fault_loses_nothing(name, kind, prepared, tmp_path):
    template, expected = prepared(name)
    n = count(SCENARIOS[name], kind, template, tmp_path / "count")
    wrong, _ = problems_of(SCENARIOS[name], Fault(kind, n // 2), template, tmp_path / "run", expected)
    assert not wrong


def test_every_kind_of_fault_is_in_the_slice():
    assert {kind for _, kind in SLICE} == set(KINDS)


def test_the_page_says_what_was_counted_and_that_nothing_was_wrong():
    text, counts = faults_page.PAGE.read_text(), json.loads(faults_page.COUNTS.read_text())
    assert faults_page.page_with(text) == text
    assert {row["scenario"] for row in counts["rows"]} == set(SCENARIOS)
    assert all("wrong" not in row["ends"] for row in counts["rows"])
    tried = {kind: sum(row["tried"] for row in counts["rows"] if row["fault"] == kind) for kind in KINDS}
    assert all(tried.values())
    ending = ("kill", "tear", "power", "power-names")
    assert sum(tried[kind] for kind in ending) >= 1000
    assert sum(n for kind, n in tried.items() if kind not in ending) >= 1000
