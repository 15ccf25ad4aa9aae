"""Views say what could not be measured, and do not mistake the record that says so for a number."""

import json

import pytest

from overfit_lab.config.permission import allow
from overfit_lab.records.failures import failures_in
from overfit_lab.records.reader import Run
from overfit_lab.training.run import train_run
from overfit_lab.views.diagnosis.diagnose import diagnose
from overfit_lab.views.report.sections.summary import remarks
from tiny import tiny_config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    allow("failing:Late")
    probes = {"every": 1, "metrics": ["failing:Late", "gradient-norm"], "n": 20}
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert train_run(tiny_config("hard", probes=probes), folder, device="cpu") == "completed"
    return folder


def test_a_failed_probe_is_said_in_one_line(folder):
    run = Run.open(folder)
    (clause,) = failures_in(run)
    assert clause == "late could not be measured from epoch 2 on (no more than one epoch)"
    assert f"{clause}." in remarks(run)
    (finding,) = [finding for finding in diagnose([run]).findings if finding.name == "failed"]
    assert finding.sentence == f"Not all was measured: {clause} in tiny."


def test_one_that_recovered_is_said_with_its_share(folder, tmp_path):
    copied = tmp_path / "run"
    copied.mkdir()
    for name in ("config.yaml", "run.json", "records.jsonl"):
        (copied / name).write_bytes((folder / name).read_bytes())
    lines = (copied / "records.jsonl").read_text().splitlines()
    late = [json.loads(line) for line in lines if '"late"' in line]
    with open(copied / "records.jsonl", "a") as file:
        file.write(json.dumps({**late[0], "epoch": 4}) + "\n")
    info = json.loads((copied / "run.json").read_text())
    (copied / "run.json").write_text(json.dumps({**info, "failed_probes": "nonsense"}))
    assert failures_in(Run.open(copied)) == ["late could not be measured at 3 of 4 measurements, first at epoch 2"]


def test_where_nothing_failed_nothing_is_said(folder):
    run = Run.open(folder)
    run.__dict__["records"] = run.records[run.records["probe"] != "late"]
    assert failures_in(run) == []
    assert not [finding for finding in diagnose([run]).findings if finding.name == "failed"]
