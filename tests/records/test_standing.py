"""Which of several records of one number stands, and where records come from."""

import json

import numpy as np
import pytest

from overfit_lab.config import RunConfig, to_yaml
from overfit_lab.files import lines
from overfit_lab.records import layout
from overfit_lab.records.history import FolderHistory, MemoryHistory
from overfit_lab.records.reader import Run, read_records
from overfit_lab.records.records import POSTHOC, TRAINING, Record, standing
from overfit_lab.records.writer import RunWriter
from overfit_lab.views.live.following import Followed

YAML = to_yaml(RunConfig())
NUMBER = ("iiw", "iiw", "train", "clean")


def record(epoch, value, n=10, step=None):
    return Record(epoch, step or epoch, "iiw", "iiw", "train", "clean", "given", value, None, n, 0.1)


def drawn(stream, count):
    values = [None if stream.random() < 0.2 else round(stream.random(), 6) for _ in range(count)]
    return [record(int(stream.integers(1, 6)), value, int(stream.integers(1, 4))) for value in values]


def old_folder(folder, records):
    """Later records in a file of their own, as earlier versions wrote them."""
    lines = [json.dumps({k: v for k, v in r.to_dict().items() if k != "origin"}) + "\n" for r in records]
    layout.posthoc_path(folder).write_text("".join(lines))


def points(series):
    return [np.asarray(column).tolist() for column in series]


@pytest.mark.parametrize("seed", range(12))
def test_reader_history_and_watch_give_the_same_series(tmp_path, seed):
    stream = np.random.default_rng(seed)
    training, old, later = (drawn(stream, int(count)) for count in stream.integers(0, 25, 3))
    with RunWriter.create(tmp_path / "r", YAML, {"status": "running"}) as writer:
        old_folder(tmp_path / "r", old)
        writer.append_posthoc(later[:5])
        writer.append(training)
        writer.append_posthoc(later[5:])
    run, live = Run.open(tmp_path / "r"), Followed(tmp_path / "r")
    live.look()
    read = points(run.series(*NUMBER)[["epoch", "value"]].to_numpy().T)
    seen = live.numbers.series(*NUMBER)
    assert read == points([seen.epochs, seen.values])
    assert len(set(read[0])) == len(read[0])
    one, two = FolderHistory(tmp_path / "r", 9), MemoryHistory(9, training, {})
    assert points(one.series(*NUMBER)[:2]) == points(two.series(*NUMBER)[:2])
    with RunWriter.create(tmp_path / "alone", YAML, {"status": "running"}) as writer:
        writer.append(training)
    alone = Run.open(tmp_path / "alone").series(*NUMBER)[["epoch", "value"]].to_numpy().T
    assert points(alone) == points(two.series(*NUMBER)[:2])


def test_the_largest_stands_then_what_was_measured_later_then_the_last():
    assert standing([2, 1, 1, 1], [5, 5, 9, 9], [True, True, False, False]).tolist() == [3, 0]
    assert standing([1, 1, 1], [9, 9, 5], [True, False, True]).tolist() == [0]
    assert standing([], [], []).tolist() == []


def test_a_number_that_was_not_finite_hides_none(tmp_path):
    with RunWriter.create(tmp_path / "r", YAML, {"status": "running"}) as writer:
        writer.append([record(1, 0.5), record(1, None), record(1, None, n=99)])
    assert Run.open(tmp_path / "r").series(*NUMBER)["value"].tolist() == [0.5]


def test_records_say_where_they_come_from(tmp_path):
    with RunWriter.create(tmp_path / "r", YAML, {}) as writer:
        writer.append([record(1, 0.1)])
        writer.append_posthoc([record(2, 0.2)])
        old_folder(tmp_path / "r", [record(3, 0.3)])
    frame = Run.open(tmp_path / "r").records
    assert frame["origin"].tolist() == [TRAINING, POSTHOC, POSTHOC]
    first, second = (json.loads(line) for line in layout.records_path(tmp_path / "r").read_text().splitlines())
    assert "origin" not in first, "training writes what it always wrote"
    assert second["origin"] == POSTHOC


def test_of_later_records_the_newer_stands_also_over_the_file_of_an_earlier_version(tmp_path):
    with RunWriter.create(tmp_path / "r", YAML, {}) as writer:
        writer.append([record(1, 0.1)])
        old_folder(tmp_path / "r", [record(1, 0.2)])
        assert Run.open(tmp_path / "r").records["value"].tolist() == [0.2]
        writer.append_posthoc([record(1, 0.3)])
    assert Run.open(tmp_path / "r").records["value"].tolist() == [0.3]


def test_cutting_back_leaves_what_was_measured_from_checkpoints(tmp_path):
    with RunWriter.create(tmp_path / "r", YAML, {}) as writer:
        writer.append([record(1, 0.1)])
        writer.append_posthoc([record(1, 0.11)])
        position = writer.position
        writer.append([record(2, 0.2), record(3, 0.3)])
        writer.append_posthoc([record(2, 0.22)])
    path = layout.records_path(tmp_path / "r")
    path.write_bytes(path.read_bytes() + record(4, 0.4).to_json().encode()[:-9])  # a kill cut this one off
    with RunWriter.reopen(tmp_path / "r") as writer:
        writer.truncate(position)
        writer.append([record(2, 0.2)])
        assert [r.value for r in read_records(path)] == [0.1, 0.11, 0.22, 0.2]
        assert [r.value for r in writer.keep_until(1)] == [0.1]
        assert [r.value for r in read_records(path)] == [0.1, 0.11, 0.22]
        writer.truncate(0)
        assert [r.value for r in read_records(path)] == [0.11, 0.22]


def test_a_kill_while_cutting_back_loses_no_later_record(tmp_path, monkeypatch):
    with RunWriter.create(tmp_path / "r", YAML, {}) as writer:
        writer.append([record(1, 0.1)])
        writer.append_posthoc([record(1, 0.11)])

    def killed(path, content):
        raise KeyboardInterrupt

    monkeypatch.setattr(lines, "write_bytes", killed)
    before = layout.records_path(tmp_path / "r").read_bytes()
    with RunWriter.reopen(tmp_path / "r") as writer, pytest.raises(KeyboardInterrupt):
        writer.truncate(0)
    assert layout.records_path(tmp_path / "r").read_bytes() == before
