"""Values of the wrong kind in the files of a run: one line with the file, the key and the value, by every view."""

import json
import shutil

import pytest

from overfit_lab.cli.main import run
from overfit_lab.errors import RunFolderError
from overfit_lab.records import layout
from overfit_lab.records.reader import Run
from overfit_lab.records.records import FIELDS, Record
from overfit_lab.sweeps.beat import Beat, read_beat, write_beat
from overfit_lab.sweeps.manifest import read_manifest
from run_factory import make_run

WRONG = {
    "status": [["completed"], {}, 3],
    "seed": ["0", -1, 1.5, 10**30],
    "epoch": ["3", [3], -3],
    "best": [0.5, [], {"epoch": 1}, {"epoch": "1", "metric": "acc_adv", "split": "test", "value": 0.5}],
    "decay_epochs": ["[5]", ["5"], {}, 5],
    "data": [[], "cifar10", {"sizes": {"train": "500"}}, {"sizes": 500}, {"n_changed": "x"}, {"class_names": [1]}],
    "wall_seconds": ["long", []],
    "robust": ["yes", 1],
    "probes_changed": [{}, [{"epoch": 1}]],
    "doubts": ["one", [1]],
    "probe_sizes": [[], {"iiw": "many"}, {"iiw": 0}],
    "probe_budget": [5, {"every": 0}],
    "monitored": ["yes", {"unknown": "epochs"}],
    "versions": [[], {"torch": 2}],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "hard"
    make_run(folder)
    return folder


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run")


@pytest.mark.parametrize("key", WRONG)
def test_run_json_names_the_key_and_the_value(folder, key):
    path = layout.info_path(folder)
    info = json.loads(path.read_text())
    for value in WRONG[key]:
        path.write_text(json.dumps({**info, key: value}))
        with pytest.raises(RunFolderError, match=rf"run\.json: damaged, {key}\b") as caught:
            layout.read_info(folder)
        assert len(str(caught.value).splitlines()) == 1


def test_keys_that_are_not_known_stay(folder):
    path = layout.info_path(folder)
    path.write_text(json.dumps({**json.loads(path.read_text()), "later": [1], "data": {"later": 2}}))
    info = layout.read_info(folder)
    assert info["later"] == [1]
    assert info["data"] == {"later": 2}


@pytest.mark.parametrize("command", [["compare"], ["diagnose"], ["table"], ["report"]])
def test_every_view_says_so_in_one_line(folder, tmp_path, capsys, command):
    path = layout.info_path(folder)
    path.write_text(json.dumps({**json.loads(path.read_text()), "status": ["completed"], "decay_epochs": "x"}))
    name, *options = command
    options += ["--out", str(tmp_path / "report.html")] if name == "report" else []
    status = run([name, str(folder), *options])
    output = capsys.readouterr()
    assert status == 2
    assert "run.json: damaged" in output.err
    assert len(output.err.splitlines()) == 1


def test_a_watch_shows_what_is_sound(folder, capsys):
    path = layout.info_path(folder)
    path.write_text(json.dumps({**json.loads(path.read_text()), "status": ["completed"], "decay_epochs": "x"}))
    assert run(["watch", str(folder), "--once"]) == 0
    assert "unknown" in capsys.readouterr().out.splitlines()[0]


LINE = dict.fromkeys(FIELDS) | {
    "epoch": 1, "probe": "iiw", "field": "iiw", "split": "train", "inputs": "clean", "labels": "", "value": 1.0,
    "origin": "training", "via": "",
}  # fmt: skip
WRONG_LINES = {
    "epoch": ["1", None, 1.5, [1], True, -1, 10**30],
    "step": ["1", [1], -1],
    "probe": [["iiw"], None, 3],
    "field": [{}, None],
    "split": [["train"], 1],
    "inputs": [1],
    "labels": [None],
    "value": ["0.5", [0.5], {}, True, 10**310],
    "stderr": ["x", []],
    "n": ["100", 1.5, [], -1],
    "seconds": ["1"],
    "origin": [["training"], None],
    "via": [1],
}


@pytest.mark.parametrize("key", WRONG_LINES)
def test_a_line_of_records_names_its_number_and_the_value(folder, key):
    path = layout.records_path(folder)
    before = path.read_bytes()
    for value in WRONG_LINES[key]:
        path.write_bytes(before + json.dumps({**LINE, key: value}).encode() + b"\n")
        number = before.count(b"\n") + 1
        with pytest.raises(RunFolderError, match=rf"records\.jsonl, line {number}: not a record \(.*{key}"):
            _ = Run(folder).records


def test_the_sentence_says_what_would_be_right():
    with pytest.raises(ValueError, match=r"^value 'x' is not a number$"):
        Record.from_json(json.dumps({**LINE, "value": "x"}))
    with pytest.raises(ValueError, match=r"^probe \['x'\] is not a text$"):
        Record.from_json(json.dumps({**LINE, "probe": ["x"]}))


def test_a_line_without_an_end_is_not_read_to_its_end(folder):
    with open(layout.records_path(folder), "ab") as file:
        file.truncate(2**28)
    with pytest.raises(RunFolderError, match="a line has more than 65536 bytes"):
        _ = Run(folder).records


def test_line_ends_of_another_system(folder):
    path = layout.records_path(folder)
    before = Run(folder).records
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert Run(folder).records.equals(before)


@pytest.mark.parametrize(
    "content",
    [
        {"format": 1},
        {"format": 1, "sweep": [], "cells": {}},
        {"format": 1, "sweep": {"base": "digits"}, "cells": []},
        {"format": 1, "sweep": {"base": "digits"}, "cells": {"a": []}},
        {
            "format": 1,
            "sweep": {"base": "digits"},
            "cells": {"a": {"name": 1, "settings": {}, "seed": 0, "config": {}}},
        },
        {"format": [1]},
    ],
)
def test_the_file_of_a_sweep(tmp_path, content):
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    with pytest.raises(RunFolderError, match=r"sweep\.json: ") as caught:
        read_manifest(tmp_path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "change", [{"share": "half"}, {"share": 1e400}, {"pid": 2**70}, {"time": "now"}, {"state": []}]
)
def test_a_damaged_sign_of_life_is_none(tmp_path, change):
    path = tmp_path / "beat.json"
    write_beat(path, Beat("token", "running"))
    assert read_beat(path) is not None
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert read_beat(path) is None
