"""`overfit-lab table` as a user meets it."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from made import measure, small_run

from overfit_lab.cli.main import run
from overfit_lab.records.reader import Run

REFERENCE = Path(__file__).parents[3] / "runs" / "reference"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("command")
    measure(small_run(made / "a"), 3, **{"acc_adv/transfer-b-20": 0.5})
    return made


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--kind", "method"], "unknown table 'method'; did you mean methods?"),
        (["--format", "html"], "unknown format 'html'"),
        (["--attack", "fgsm"], "unknown attack 'fgsm'"),
        (["--attack", "pgd-20,"], "expected names of attacks between commas"),
        (["--best-by", "train"], "unknown split to choose the best checkpoint by 'train'"),
        (["--best-by", "val"], "holds no evaluation on val"),
        (["--kind", "constants"], "table 'constants' is of sglr"),
        (["--kind", "label-noise", "--best-by", "test"], "has no meaning for table 'label-noise'"),
        (["--out", "t.pdf"], "suffix '.pdf' stands for no format"),
        (["--out", "nowhere/t.md"], "folder nowhere does not exist"),
    ],
)
def test_bad_input_is_one_line(folder, tmp_path, monkeypatch, capfd, arguments, says):
    monkeypatch.chdir(tmp_path)
    assert run(["table", str(folder / "a"), *arguments]) == 2
    out, err = capfd.readouterr()
    assert says in err
    assert (out, err.count("\n")) == ("", 1)
    assert not list(tmp_path.iterdir())


def test_runs_without_evaluation_are_refused(folder, tmp_path, capfd):
    made = small_run(tmp_path / "empty")
    (made.folder / "records.jsonl").write_text("")
    assert run(["table", str(made.folder)]) == 2
    assert "holds no evaluation" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "begins"), [("t.md", "Test acc"), ("t.tex", "% needs"), ("t.csv", "table,"), ("t.json", "{")]
)
def test_the_suffix_says_the_format(folder, tmp_path, capfd, name, begins):
    path = tmp_path / name
    path.write_text("old")
    assert run(["table", str(folder), "--out", str(path)]) == 0
    assert capfd.readouterr().out.strip() == str(path)
    assert path.read_text().startswith(begins)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_the_kinds_are_listed(capfd):
    assert run(["list", "tables"]) == 0
    out = capfd.readouterr().out
    assert all(name in out for name in ("methods", "constants", "label-noise", "calibration", "transfer"))


@pytest.mark.parametrize("kind", ["methods", "label-noise", "calibration", "transfer"])
def test_no_torch_is_loaded(folder, kind):
    code = (
        f"import sys; from overfit_lab.cli.main import run; assert run(['table', {str(folder)!r}, '--kind', {kind!r}, "
        "'--published']) == 0; assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_committed_records_give_what_a_loop_over_their_lines_gives(capfd):
    """Best, final and diff of three seeds, read without anything of ours."""
    folders = [REFERENCE / f"digits-hard-seed{seed}" for seed in (0, 1, 2)]
    assert run(["table", *map(str, folders), "--format", "csv"]) == 0
    frame = pd.read_csv(io.StringIO(capfd.readouterr().out)).set_index(["group", "column"])
    found = []
    for folder in folders:
        lines = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
        robust = {
            line["epoch"]: line["value"]
            for line in lines
            if (line["probe"], line["field"], line["split"]) == ("evaluation", "acc_adv", "test")
        }
        found.append(100 * (max(robust.values()) - robust[max(robust)]))
    expected = pd.Series(found)
    assert frame.loc[("PGD-20", "diff"), "mean"] == pytest.approx(expected.mean())
    assert frame.loc[("PGD-20", "diff"), "std"] == pytest.approx(expected.std())
    assert Run.open(folders[0]).config.evaluation.n_steps == 20
