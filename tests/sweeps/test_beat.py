"""Signs of life, and who may write to a cell's folder."""

import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from sweeping import small_config, wait_for

from overfit_lab.config import to_dict
from overfit_lab.sweeps import beat as beat_module
from overfit_lab.sweeps.beat import OUSTED, Beat, Heart, beat_path, claim, read_beat, release, write_beat
from overfit_lab.sweeps.spec import Resources
from overfit_lab.sweeps.work import CellJob, attempt, last_lines, log_path
from same_run import rows

HERE = socket.gethostname()


def test_the_last_claim_holds(tmp_path):
    path = tmp_path / "beats" / "a.json"
    first, second = claim(path), claim(path)
    assert first.token != second.token
    release(path, first.token, "failed", "too late")
    assert read_beat(path).state == "running"
    release(path, second.token, "completed")
    assert read_beat(path).state == "completed"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("beat", "age", "alive"),
    [
        (Beat("t", "running", HERE, os.getpid()), 1e6, True),
        (Beat("t", "running", HERE, 2**22 + 1), 0, False),
        (Beat("t", "running", "elsewhere", os.getpid()), 1, True),
        (Beat("t", "running", "elsewhere", os.getpid()), 31, False),
        (Beat("t", "completed", "elsewhere", os.getpid()), 1, False),
        (Beat("t", "queued", HERE, os.getpid()), 1, False),
    ],
)
def test_who_is_alive(beat, age, alive):
    assert replace(beat, time=time.time() - age).is_alive is alive


@pytest.mark.parametrize(("host", "age", "waits"), [("elsewhere", 1, True), ("elsewhere", 60, False), (HERE, 1, False)])
def test_a_claim_gives_a_process_on_another_machine_time_to_look(tmp_path, monkeypatch, host, age, waits):
    slept = []
    path = tmp_path / "a.json"
    write_beat(path, Beat("old", "running", host, os.getpid(), share=0.5))
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "time": time.time() - age}))
    monkeypatch.setattr(beat_module.time, "sleep", slept.append)
    assert claim(path).share == 0.5
    assert slept == ([2 * beat_module.BEAT] if waits else [])


def test_a_damaged_file_is_no_sign_of_life(tmp_path):
    for text in ("", "[]", '{"token": "x"}', '{"token": "x", "state": "running", "later": 1}'):
        (tmp_path / "a.json").write_text(text)
        assert read_beat(tmp_path / "a.json") is None


def test_a_heart_says_where_the_run_stands_and_leaves_others_files(tmp_path):
    path = tmp_path / "a.json"
    beat = claim(path, "queued")
    with Heart(path, beat.token).beating() as heart:
        heart.progressed(0.25, "epoch 2/4")
        assert (read_beat(path).state, read_beat(path).share) == ("running", 0.25)
        heart.progressed(0.75, "epoch 4/4")
    assert (read_beat(path).share, read_beat(path).text) == (0.75, "epoch 4/4")


def test_a_heart_beats_while_nothing_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(beat_module, "BEAT", 0.05)
    path = tmp_path / "a.json"
    with Heart(path, claim(path).token).beating():
        first = read_beat(path).time
        assert wait_for(lambda: read_beat(path).time > first, 5)


def test_a_process_that_lost_its_cell_ends_at_once(tmp_path):
    code = (
        "import sys; from pathlib import Path; from overfit_lab.sweeps.beat import Heart\n"
        "with Heart(Path(sys.argv[1]), 'mine').beating() as heart:\n"
        "    heart.progressed(0.5, '')\n"
        "    print('went on')\n"
    )
    write_beat(tmp_path / "a.json", Beat("other", "running", "elsewhere", 1))
    before = (tmp_path / "a.json").read_bytes()
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.json"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (OUSTED, "")
    assert "given to a process on elsewhere" in done.stderr
    assert (tmp_path / "a.json").read_bytes() == before


def _report(share, text):
    pass


@pytest.mark.slow
def test_a_run_that_was_given_to_another_writes_no_record_more(tmp_path):
    """The token is replaced in the middle of a run; its records end there, and run.json is left alone."""
    folder = tmp_path / "abc"
    job = CellJob("cell", folder, to_dict(small_config(epochs=400, probes={"metrics": []})), Resources(), device="cpu")
    token = claim(beat_path(folder)).token
    process = multiprocessing.get_context("spawn").Process(target=attempt, args=(_report, job, token))
    process.start()
    wait_for(lambda: (folder / "checkpoints" / "epoch-0002.safetensors").is_file())
    write_beat(beat_path(folder), Beat("other", "running", "elsewhere", 1))
    process.join(30)
    assert process.exitcode == OUSTED
    n = len(rows(folder))
    assert n > 0
    last = json.loads(rows(folder)[-1])["epoch"]
    assert last < 400
    assert json.loads((folder / "run.json").read_text())["status"] == "running"
    assert read_beat(beat_path(folder)).token == "other"
    assert "given to a process on elsewhere" in last_lines(log_path(folder), 1)[0]
