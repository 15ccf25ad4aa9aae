"""How a run ended is written by one module, whoever finds out."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

import overfit_lab
from overfit_lab.errors import RunFolderError
from overfit_lab.records import layout
from overfit_lab.records.status import end, end_at_error, mark_ended, status_of
from overfit_lab.records.writer import RunWriter, take_lock

PACKAGE = Path(overfit_lab.__file__).parent


@pytest.fixture
def folder(tmp_path):
    RunWriter.create(tmp_path / "run", "name: x\n", {"status": "running"}).close()
    return tmp_path / "run"


def said(folder):
    info = json.loads(layout.info_path(folder).read_text())
    return info["status"], "ended" in info


@pytest.mark.parametrize(
    ("before", "status", "instead_of", "after"),
    [
        ("running", "failed", (), "failed"),
        ("interrupted", "failed", (), "interrupted"),
        ("interrupted", "failed", ("running", "interrupted"), "failed"),
        ("completed", "failed", ("running", "interrupted"), "completed"),
    ],
)
def test_another_ending_stands_unless_it_is_to_be_corrected(folder, before, status, instead_of, after):
    with RunWriter.reopen(folder) as writer:
        writer.update_info(status=before)
    mark_ended(folder, status, *([instead_of] if instead_of else []))
    assert said(folder) == (after, before != after)


def test_nothing_is_written_where_a_process_still_writes_or_there_is_no_run_or_a_damaged_one(folder, tmp_path):
    with take_lock(folder):
        mark_ended(folder, "failed")
    assert said(folder) == ("running", False)
    mark_ended(tmp_path / "none", "failed")
    assert status_of(tmp_path / "none") is None
    layout.info_path(folder).write_text("{")
    mark_ended(folder, "failed")
    with pytest.raises(RunFolderError, match="damaged"):
        status_of(folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "interrupted"), (RuntimeError, "failed")])
def test_an_error_ends_a_run_and_goes_on_but_an_interruption_does_not(folder, error, status):
    raised = []

    def prepare():
        with RunWriter.reopen(folder) as writer, end_at_error(writer):
            raise error

    try:
        prepare()
    except RuntimeError as caught:
        raised.append(caught)
    assert said(folder) == (status, True)
    assert bool(raised) == (error is RuntimeError)


def test_an_ending_may_say_more(folder):
    with RunWriter.reopen(folder) as writer:
        end(writer, "completed", epoch=3)
    assert said(folder) == ("completed", True)
    assert json.loads(layout.info_path(folder).read_text())["epoch"] == 3


def test_no_other_module_writes_an_ending():
    guilty = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "update_info"
        and any(key.arg == "status" and ast.unparse(key.value) != "'running'" for key in call.keywords)
    ]
    assert guilty == ["records/status.py"]
