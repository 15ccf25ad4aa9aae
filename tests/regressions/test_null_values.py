"""No view crashes on runs whose values are null, as those that diverged: from some epoch on, at first, always."""

import json
import os

import pytest

from overfit_lab.cli.main import run
from overfit_lab.config.catalog import FIGURES
from overfit_lab.errors import OverfitLabError
from overfit_lab.records import layout
from overfit_lab.records.reader import Run
from overfit_lab.views.report.page import make_report
from run_factory import make_run

WHOLE = os.environ.get("OVERFIT_LAB_FAULTS") == "whole"
FEW = ("overview", "fig2", "onset")
NULL = {"from some epoch": lambda epoch: epoch > 9, "at first": lambda epoch: epoch < 5, "always": lambda _: True}


@pytest.fixture(scope="module", params=NULL)
def runs(request, tmp_path_factory):
    """Two seeds of one experiment and another method, without a finite value where the parameter says so."""
    place, is_null = tmp_path_factory.mktemp("null"), NULL[request.param]
    made = []
    for name, labels, seed in (("hard-0", "hard", 0), ("hard-1", "hard", 1), ("sglr-0", "sglr", 0)):
        folder = make_run(place / name, labels, seed, epochs=16, measured=(4, 8, 12, 16)).folder
        lines = [json.loads(line) for line in layout.records_path(folder).read_text().splitlines()]
        lines = [{**line, "value": None, "stderr": None} if is_null(line["epoch"]) else line for line in lines]
        layout.records_path(folder).write_text("".join(json.dumps(line) + "\n" for line in lines))
        info = json.loads(layout.info_path(folder).read_text())
        info |= {"status": "diverged", "diverged": {"step": 91, "epoch": 10}, "epoch": 16}
        layout.info_path(folder).write_text(json.dumps(info))
        made.append(folder)
    return made


def lacks(name, folders):
    """What a figure says that it lacks; "" where it is drawn."""
    try:
        FIGURES[name]([Run(folder) for folder in folders]).draw_without_rendering()
    except OverfitLabError as error:
        return str(error)
    return ""


def test_figures(runs):
    """Each draws, or says in one line what it lacks; all of them with OVERFIT_LAB_FAULTS=whole."""
    some = [runs[:1], runs] if WHOLE else [runs]
    said = [lacks(name, folders) for name in (FIGURES if WHOLE else FEW) for folders in some]
    assert not any("\n" in line for line in said)
    assert said.count("") > (5 if WHOLE else 0)


def test_commands(runs, capfd):
    folders = [str(folder) for folder in runs]
    for words in (
        *(["table", *folders, "--kind", kind] for kind in ("methods", "calibration", "label-noise", "transfer")),
        *(["compare", *folders, "--format", style] for style in ("table", "markdown", "latex", "csv", "json")),
        ["diagnose", *folders],
        ["diagnose", folders[0], "--format", "json"],
        ["watch", folders[0], "--once"],
    ):
        status = run(words)
        out, err = capfd.readouterr()
        assert status in (0, 2), (words, err)
        assert "unexpected" not in err, (words, err)
        assert status == 0 or len(err.splitlines()) == 1, err
        if words[0] == "watch":
            assert "diverged" in out
        if words[-1] == "json" and status == 0:
            json.loads(out)


@pytest.mark.skipif(not WHOLE, reason="takes half a minute")
def test_report(runs):
    page = make_report([Run(folder) for folder in runs], "title")
    assert "diverged at epoch 16" in page
