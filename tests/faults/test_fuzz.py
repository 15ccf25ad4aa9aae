"""Some of the damaged folders and drawn configurations, and every case that once went wrong. More: `make faults`."""

import json

import pytest

from faults import configurations, folders, fuzz_page
from faults.bases import make_bases
from faults.corpus_cases import CORPUS, replay

QUICK = ("compare", "table", "diagnose", "watch", "probe", "evaluate", "train", "sweep")
CASES = sorted(CORPUS.glob("*.json"))


@pytest.fixture(scope="session")
def bases(tmp_path_factory):
    return make_bases(tmp_path_factory.mktemp("bases"))


@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_folder_is_read_or_refused_in_one_line(seed, bases):
    for i in range(5):
        case = folders.draw_case(100 * seed + i, bases, n_commands=8)
        case.commands = [one for one in case.commands if one[0] in QUICK and one[1] != "resume"][:3]
        assert not folders.run_case(case, bases).wrong, case


@pytest.mark.parametrize("seed", [0, 3])
def test_a_drawn_configuration_trains_or_is_refused_in_one_line(seed, bases):
    for case, outcome in configurations.outcomes(10, seed, bases["run"]):
        assert not outcome.problems, (str(case), str(outcome))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_what_once_went_wrong_does_not_again(path, bases):
    assert not replay(path, bases)


def test_the_page_says_what_was_counted():
    text = fuzz_page.PAGE.read_text(encoding="utf-8")
    assert fuzz_page.page_with(text) == text
    counts = json.loads(fuzz_page.COUNTS.read_text())
    for what, least in (("folders", 1000), ("configurations", 500)):
        assert len(counts[what]) >= 2
        assert all(one["cases"] >= least and one["wrong"] == 0 for one in counts[what])


def test_a_failure_would_be_seen(bases, monkeypatch):
    """What commands do wrong here, the harness has to say."""
    import sys
    import time

    from faults import running
    from overfit_lab.cli import main

    def noisy(arguments):
        sys.stderr.write("a\nb\n")
        return 2

    def raw(arguments):
        return main._complain("unexpected KeyError: 'x'", 1)

    def hanging(arguments):
        time.sleep(9)

    for command, problem in ((noisy, "2 lines"), (raw, "raw"), (hanging, "hung")):
        monkeypatch.setattr(main, "run", command)
        outcome = running.command(["compare", "x"], limit=0.5)
        assert any(problem in one for one in outcome.problems), problem
    case = folders.Case("imported", [], [["compare", "{}"]])
    for place, problem in ((f"{folders.FOLDER}/run.json", "changed"), ("outside/new", "outside"), ("tmp/ran", "CODE")):

        def writing(arguments, place=place):
            root = folders.Path(arguments[1]).parent
            (root / place).write_text("{}")
            return 0

        monkeypatch.setattr(main, "run", writing)
        ((_, said),) = folders.run_case(case, bases).wrong
        assert problem in said
