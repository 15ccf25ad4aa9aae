"""The judge's answers in a table are those of the diagnosis."""

import csv
import io
import json

import pytest

from overfit_lab.cli.main import run
from raw_records import REFERENCE

RUNS = ("digits-hard-seed0", "cifar10-small-hard-seed0", "cifar10-small-sglr-seed0", "cifar10-small-awp-seed0")


def printed(capsys, *arguments):
    assert run([*map(str, arguments)]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("least", [1, 9])
def test_it_says_what_diagnose_says(capsys, name, least):
    options = ("--least-drop", least)
    (row,) = json.loads(
        printed(capsys, "table", REFERENCE / name, "--kind", "overfitting", "--format", "json", *options)
    )
    findings = json.loads(printed(capsys, "diagnose", REFERENCE / name, "--format", "json", *options))["findings"]
    onset = next(finding for finding in findings if finding["name"] == "onset")
    says = {"yes": "robust overfitting", "no": "none", "not enough evidence": "not enough evidence"}
    assert row["verdict"] == says[onset["verdict"]]
    numbers = onset["numbers"]
    for key in ("drop", "drop_low", "drop_high"):
        assert row[key] == pytest.approx(100 * numbers[key])
    if onset["verdict"] == "yes":
        assert [row[f"peak{end}"] for end in ("", "_low", "_high")] == [
            numbers[f"onset{end}"] for end in ("", "_low", "_high")
        ]
        assert row["gap"] == pytest.approx(100 * numbers["gap_growth"])
    assert row["gap_low"] <= row["gap"] <= row["gap_high"]
    lines = (REFERENCE / name / "records.jsonl").read_text().splitlines()
    judged = [row for row in map(json.loads, lines) if row["probe"] == "evaluation" and row["field"] == "acc_adv"]
    on_test = [row for row in judged if row["split"] == "test"]
    assert (row["evaluations"], row["samples"]) == (len(on_test), on_test[0]["n"])


def test_every_format_holds_it(capsys):
    folders = [REFERENCE / name for name in RUNS]
    rows = json.loads(printed(capsys, "table", *folders, "--kind", "overfitting", "--format", "json"))
    read = list(
        csv.DictReader(io.StringIO(printed(capsys, "table", *folders, "--kind", "overfitting", "--format", "csv")))
    )
    assert [{key: "" if value is None else str(value) for key, value in row.items()} for row in rows] == read
    for style in ("table", "markdown", "latex"):
        text = printed(capsys, "table", *folders, "--kind", "overfitting", "--format", style)
        for row in rows:
            assert f"{row['drop']:.1f} ({row['drop_low']:.1f} to {row['drop_high']:.1f})" in text
            assert row["verdict"] in text


@pytest.mark.parametrize("command", ["report", "watch", "table"])
@pytest.mark.parametrize("value", ["0", "-1", "100", "nan"])
def test_a_least_drop_that_is_none_is_refused_in_one_line(capsys, tmp_path, command, value):
    where = {"report": ["--out", tmp_path / "a.html"], "watch": ["--once"], "table": ["--kind", "overfitting"]}[command]
    assert run([command, str(REFERENCE / RUNS[0]), *map(str, where), f"--least-drop={value}"]) == 2
    error = capsys.readouterr().err
    assert f"least drop {value} points; it lies above 0 and below 100" in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_least_drop_decides_in_the_watch_too(capsys):
    once = ("watch", REFERENCE / "digits-hard-seed0", "--once")
    assert "robust overfitting, seen at epoch" in " ".join(printed(capsys, *once).lower().split())
    assert "seen at epoch" not in printed(capsys, *once, "--least-drop", "40").lower()


def test_the_report_judges_by_it(tmp_path, capsys, monkeypatch):
    from overfit_lab.views.report import drawings

    monkeypatch.setattr(drawings, "FIGURES", dict.fromkeys(drawings.FIGURES, _refuse))
    for least, says in ((1, "Robust overfitting in this run"), (40, "less than the 40.0 that count")):
        printed(capsys, "report", REFERENCE / "digits-hard-seed0", "--out", tmp_path / "a.html", "--least-drop", least)
        assert says in (tmp_path / "a.html").read_text()


def _refuse(runs):
    """A figure that is never drawn."""
    from overfit_lab.errors import RunFolderError

    raise RunFolderError("no figure")


def test_other_tables_have_no_least_drop(capsys):
    assert run(["compare", str(REFERENCE / RUNS[0])]) == 0
    assert run(["table", str(REFERENCE / RUNS[0]), "--kind", "compare", "--least-drop", "2"]) == 2
    assert "--least-drop 2: has no meaning for table 'compare'" in capsys.readouterr().err
