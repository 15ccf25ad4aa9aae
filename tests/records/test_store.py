"""The record store: round trips, refusals, torn lines, locks."""

import json
import math
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overfit_lab.config import RunConfig, to_yaml
from overfit_lab.errors import RunFolderError
from overfit_lab.records import layout
from overfit_lab.records.reader import Run, find_runs
from overfit_lab.records.records import Record
from overfit_lab.records.writer import RunWriter

YAML = to_yaml(RunConfig())


def record(epoch=1, value=0.5, probe="iiw", field="iiw", **changes):
    given = {"split": "train", "inputs": "clean", "labels": "given", "stderr": None, "n": 10, "seconds": 0.1}
    return Record(epoch=epoch, step=epoch, probe=probe, field=field, value=value, **{**given, **changes})


texts = st.text(max_size=12)
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.builds(
        Record,
        epoch=st.integers(0, 10**6),
        step=st.integers(0, 10**9),
        probe=texts,
        field=texts,
        split=texts,
        inputs=texts,
        labels=texts,
        value=numbers,
        stderr=numbers,
        n=st.integers(0, 10**9),
        seconds=numbers,
    )
)
def test_any_record_is_one_line_and_comes_back(r):
    line = r.to_json()
    assert "\n" not in line
    assert Record.from_json(line) == r


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_null(value):
    assert json.loads(record(value=value).to_json())["value"] is None


def test_written_rows_are_read_back(tmp_path):
    folder = tmp_path / "a" / "run"
    with RunWriter.create(folder, YAML, {"status": "running", "seed": 3}) as writer:
        writer.append([record(1, 0.25), record(2, 1 / 3, stderr=0.1)])
        writer.save_arrays("features", 2, {"tsne": np.eye(3, dtype=np.float32)})
        writer.update_info(status="completed")
    run = Run.open(folder)
    assert run.config == RunConfig()
    assert run.info == {"status": "completed", "seed": 3}
    assert run.name == "run"
    assert run.records["value"].tolist() == [0.25, 1 / 3]
    assert run.series("iiw", "iiw", "train", "clean")["stderr"].tolist()[1] == 0.1
    assert run.value_at(2, "iiw", "iiw", "train", "clean") == 1 / 3
    assert run.value_at(9, "iiw", "iiw", "train", "clean") is None
    assert np.array_equal(run.arrays("features", 2)["tsne"], np.eye(3))
    assert run.arrays("features", 7) == {}
    assert run.epochs_with_arrays("features") == [2]
    assert [run.name for run in find_runs([tmp_path])] == ["run"]


def test_a_torn_last_line_is_passed_over_and_truncation_cuts_it(tmp_path):
    with RunWriter.create(tmp_path / "r", YAML, {}) as writer:
        writer.append([record(1)])
        position = writer.position
        writer.append([record(2)])
    path = layout.records_path(tmp_path / "r")
    path.write_bytes(path.read_bytes()[:-7])
    assert Run.open(tmp_path / "r").records["epoch"].tolist() == [1]
    with RunWriter.reopen(tmp_path / "r") as writer:
        writer.truncate(position)
        writer.append([record(3)])
    assert Run.open(tmp_path / "r").records["epoch"].tolist() == [1, 3]


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    with RunWriter.create(tmp_path / "r", YAML, {}) as writer:
        writer.append([record(1)])
    with open(layout.records_path(tmp_path / "r"), "a") as file:
        file.write("{}\n" + record(2).to_json() + "\n")
    with pytest.raises(RunFolderError, match="line 2"):
        _ = Run.open(tmp_path / "r").records


def test_what_is_measured_later_stands(tmp_path):
    with RunWriter.create(tmp_path / "r", YAML, {}) as writer:
        writer.append([record(1, 0.1), record(1, 0.2, n=20)])
        writer.append_posthoc([record(1, 0.3)])
    frame = Run.open(tmp_path / "r").records
    assert sorted(frame["value"]) == [0.2, 0.3]
    assert Run.open(tmp_path / "r").series("iiw", "iiw")["value"].tolist() == [0.2]


def test_a_torn_line_of_later_records_is_cut_before_the_next(tmp_path):
    with RunWriter.create(tmp_path / "r", YAML, {}) as writer:
        writer.append_posthoc([record(1), record(2)])
        path = layout.records_path(tmp_path / "r")
        path.write_bytes(path.read_bytes()[:-5])
        writer.append_posthoc([record(3)])
    assert Run.open(tmp_path / "r").records["epoch"].tolist() == [1, 3]


def test_an_occupied_folder_is_refused_untouched(tmp_path):
    (tmp_path / "theirs.txt").write_text("x")
    with pytest.raises(RunFolderError, match="not empty"):
        RunWriter.create(tmp_path, YAML, {})
    with pytest.raises(RunFolderError, match="is a file"):
        RunWriter.create(tmp_path / "theirs.txt", YAML, {})
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.txt"]
    with RunWriter.create(tmp_path / "r", YAML, {}), pytest.raises(RunFolderError, match="--resume"):
        RunWriter.create(tmp_path / "r", YAML, {})


def test_a_folder_appears_whole_also_after_a_killed_beginning(tmp_path, monkeypatch):
    """A kill between the first two files once left a folder that was neither free nor a run."""
    real = layout.info_path
    monkeypatch.setattr(layout, "info_path", lambda folder: tmp_path / "none" / "run.json")
    with pytest.raises(RunFolderError, match="cannot write"):
        RunWriter.create(tmp_path / "r", YAML, {})
    assert not (tmp_path / "r").exists()
    monkeypatch.setattr(layout, "info_path", real)
    RunWriter.create(tmp_path / "r", YAML, {}).close()
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "r").mkdir()
    RunWriter.create(tmp_path / "r", YAML, {}).close()
    assert layout.is_run(tmp_path / "r")


def test_one_process_at_a_time_writes(tmp_path):
    with (
        RunWriter.create(tmp_path / "r", YAML, {}),
        pytest.raises(RunFolderError, match="another process is writing"),
    ):
        RunWriter.reopen(tmp_path / "r")
    RunWriter.reopen(tmp_path / "r").close()


def test_resumed_runs_drop_later_arrays(tmp_path):
    with RunWriter.create(tmp_path / "r", YAML, {}) as writer:
        for epoch in (5, 10, 15):
            writer.save_arrays("calibration", epoch, {"a": np.ones(2)})
        writer.drop_arrays_after(10)
    assert Run.open(tmp_path / "r").epochs_with_arrays("calibration") == [5, 10]


@pytest.mark.parametrize("name", ["../evil", "a/b", "", ".hidden", "/abs"])
def test_no_path_outside_the_run_folder(tmp_path, name):
    with RunWriter.create(tmp_path / "r", YAML, {}) as writer, pytest.raises(RunFolderError, match="probe name"):
        writer.save_arrays(name, 1, {"a": np.ones(2)})
    for which in ("../x", "best/../..", "-1", "1.5"):
        with pytest.raises(RunFolderError, match="expected best, final"):
            layout.checkpoint_path(tmp_path, which)


def test_arrays_of_objects_are_neither_written_nor_read(tmp_path):
    with RunWriter.create(tmp_path / "r", YAML, {}) as writer:
        with pytest.raises(ValueError, match="Python objects"):
            writer.save_arrays("p", 1, {"a": np.array([object()])})
        path = layout.arrays_path(tmp_path / "r", "p", 1)
        path.parent.mkdir(exist_ok=True)
        np.savez(path, a=np.array([{"x": 1}], dtype=object))
    with pytest.raises(RunFolderError, match="more than plain arrays"):
        Run.open(tmp_path / "r").arrays("p", 1)


@pytest.mark.parametrize(("path", "message"), [("none", "no such run folder"), (".", "holds no run")])
def test_what_is_no_run_is_said(tmp_path, path, message):
    with pytest.raises(RunFolderError, match=message):
        find_runs([tmp_path / path])


def test_a_run_that_two_paths_lead_to_comes_once(tmp_path):
    """It was once read twice, and counted twice in every mean."""
    for name in ("a", "b"):
        RunWriter.create(tmp_path / name, YAML, {}).close()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    found = find_runs([tmp_path / "b", tmp_path, tmp_path / "a", tmp_path / "link"])
    assert [run.name for run in found] == ["b", "a"]


def test_the_beginning_of_a_killed_run_is_no_run(tmp_path):
    """A kill after the first two files and before the folder has its name once left a run without records."""
    RunWriter.create(tmp_path / "a", YAML, {}).close()
    left = tmp_path / ".b.partial"
    shutil.copytree(tmp_path / "a", left)
    assert layout.is_run(left)
    assert [run.name for run in find_runs([tmp_path])] == ["a"]
    RunWriter.create(tmp_path / "b", YAML, {}).close()
    assert [run.name for run in find_runs([tmp_path])] == ["a", "b"]


def test_a_damaged_run_json_is_named(tmp_path):
    RunWriter.create(tmp_path / "r", YAML, {}).close()
    layout.info_path(tmp_path / "r").write_text("{")
    with pytest.raises(RunFolderError, match=r"run\.json: damaged"):
        _ = Run.open(tmp_path / "r").info
