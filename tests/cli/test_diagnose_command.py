"""`overfit-lab diagnose`: formats, files, exit status."""

import json

import pytest

from overfit_lab.cli.main import run
from run_factory import make_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for seed in range(2):
        make_run(root / f"hard-seed{seed}", seed=seed)
        make_run(root / f"smooth-seed{seed}", labels="smooth", seed=seed)
    return root


def test_overfitting_is_an_answer_and_no_error(folder, capsys):
    assert run(["diagnose", str(folder)]) == 0
    out = capsys.readouterr().out
    assert (
        "hard\n====\nonset: yes\n  Robust overfitting in 2 of 2 seeds: robust test accuracy drops by 10.0 points" in out
    )
    assert f"figure: overfit-lab figure onset {folder / 'hard-seed0'} {folder / 'hard-seed1'}" in out
    assert "cures: " in out
    assert out.rstrip().endswith(".")
    assert "\x1b" not in out


def test_json_has_everything_and_no_number_that_json_lacks(folder, capsys):
    assert run(["diagnose", str(folder), "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(name))
    assert [subject["name"] for subject in content["subjects"]] == ["hard", "smooth"]
    onset = content["findings"][0]
    assert (onset["name"], onset["verdict"], onset["numbers"]["onset"]) == ("onset", "yes", 12)
    assert onset["runs"] == ["hard-seed0", "hard-seed1"]
    assert onset["figure_command"].startswith("overfit-lab figure onset ")


@pytest.mark.parametrize(("name", "begins"), [("a.md", "# Diagnosis\n"), ("a.txt", "hard\n"), ("a.json", "{")])
def test_a_file_is_written_in_the_format_of_its_suffix(folder, tmp_path, capsys, name, begins):
    assert run(["diagnose", str(folder), "--out", str(tmp_path / name)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / name)
    assert (tmp_path / name).read_text().startswith(begins)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--format", "yaml"], "unknown format 'yaml'"),
        (["--out", "a.pdf"], "stands for no format"),
        (["--out", "nowhere/a.md"], "does not exist"),
    ],
)
def test_bad_options_are_refused_in_one_line(folder, capsys, arguments, says):
    assert run(["diagnose", str(folder), *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_no_run_is_refused(tmp_path, capsys):
    assert run(["diagnose", str(tmp_path / "none")]) == 2
    assert "no such run folder" in capsys.readouterr().err


def test_findings_are_listed(capsys):
    assert run(["list", "findings"]) == 0
    assert "overconfidence" in capsys.readouterr().out


def verdicts(folder, capsys, *options):
    assert run(["diagnose", str(folder), "--format", "json", *options]) == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    return {(part["subject"], part["name"]): part["verdict"] for part in findings if part["name"] in ("onset", "drop")}


def test_the_least_drop_decides_what_counts(folder, capsys):
    """Hard labels drop by 10 points; smooth ones by 5, which are 5 of 100 test samples and may be chance."""
    unclear = "not enough evidence"
    expected = {"": ("yes", unclear), "1": ("yes", unclear), "7": ("yes", "no"), "30": ("no", "no")}
    for least, (hard, smooth) in expected.items():
        found = verdicts(folder, capsys, *(["--least-drop", least] if least else []))
        for name in ("onset", "drop"):
            assert (found["hard", name], found["smooth", name]) == (hard, smooth), (least, name)
    assert verdicts(folder, capsys) == verdicts(folder, capsys, "--least-drop", "1")


@pytest.mark.parametrize("value", ["0", "-1", "100", "nan", "inf"])
def test_a_least_drop_that_is_none_is_refused_in_one_line(folder, capsys, value):
    assert run(["diagnose", str(folder), f"--least-drop={value}"]) == 2
    error = capsys.readouterr().err
    assert f"least drop {value} points; it lies above 0 and below 100" in error
    assert error.count("\n") == 1


def test_a_least_drop_that_is_no_number_is_refused(folder, capsys):
    assert run(["diagnose", str(folder), "--least-drop", "much"]) == 2
    error = capsys.readouterr().err
    assert "--least-drop" in error
    assert "valid number" in error
