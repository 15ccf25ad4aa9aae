"""Whole grids: as the plain runs, with cells that fail, killed and resumed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from overfit_lab.config import apply_overrides, to_yaml
from overfit_lab.records.reader import Run, find_runs
from overfit_lab.sweeps.grid import run_grid
from overfit_lab.training.run import train_run
from same_run import assert_same_run, rows
from tiny import tiny_config

AXES = ["--grid", "labels.r=0.2,0.6", "--grid", "optimizer.lr=0.1,0.02"]
NAMES = [f"r{r}-lr{lr}-seed0" for r in ("0.2", "0.6") for lr in ("0.1", "0.02")]


def small_config(**changes):
    probes = {"every": 2, "metrics": ["calibration", "memorisation"], "n": 40}
    return tiny_config(**{"probes": probes, **changes})


def command(folder, *arguments, out="grid"):
    given = ["train", "tiny.yaml", "--out", out, "--device", "cpu", *arguments]
    return [sys.executable, "-W", "ignore", "-m", "overfit_lab.cli.main", *given]


def grid(folder, *arguments):
    return subprocess.run(command(folder, *arguments), cwd=folder, capture_output=True, text=True, timeout=300)


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A grid of two by two, by the command line; the folder that it lies in, and what it said."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "tiny.yaml").write_text(to_yaml(small_config()))
    done = grid(folder, *AXES, "--jobs", "2")
    assert done.returncode == 0, done.stderr
    return folder, done


def test_every_cell_is_completed_and_told_of(finished):
    folder, done = finished
    assert [run.name for run in find_runs([folder / "grid"])] == sorted(NAMES)
    assert {run.info["status"] for run in find_runs([folder / "grid"])} == {"completed"}
    assert "completed: 4 of 4 cells in grid" in done.stdout
    assert "robust final %" in done.stdout
    lines = done.stderr.splitlines()
    assert sorted(line.split(":")[0] for line in lines) == sorted(NAMES)
    assert [line.split("(")[1].split(",")[0] for line in lines] == ["1 of 4", "2 of 4", "3 of 4", "4 of 4"]


def test_a_cell_is_the_plain_run_of_its_configuration(finished, tmp_path):
    folder, _ = finished
    arguments = [*("--set", "labels.r=0.6"), *("--set", "optimizer.lr=0.02")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    plain = command(folder, *arguments, out=str(tmp_path / "plain"))
    assert subprocess.run(plain, cwd=folder, env=environment, capture_output=True, timeout=120).returncode == 0
    cell = folder / "grid" / "r0.6-lr0.02-seed0"
    assert_same_run(cell, tmp_path / "plain")
    assert (cell / "config.yaml").read_bytes() == (tmp_path / "plain" / "config.yaml").read_bytes()


def test_completed_cells_are_passed_over(finished, tmp_path):
    folder, _ = finished
    shutil.copytree(folder, tmp_path / "again", ignore=shutil.ignore_patterns(".lock"))
    shutil.rmtree(tmp_path / "again" / "grid" / NAMES[0])
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "again").rglob("*") if path.is_file()}
    done = grid(tmp_path / "again", *AXES, "--jobs", "2", "--resume")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"{NAMES[0]}: completed (4 of 4")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    for name in NAMES:
        assert_same_run(tmp_path / "again" / "grid" / name, folder / "grid" / name)


def test_a_run_of_another_configuration_in_a_cells_place_is_refused(finished, tmp_path):
    folder, _ = finished
    shutil.copytree(folder, tmp_path / "again", ignore=shutil.ignore_patterns(".lock"))
    (tmp_path / "again" / "grid" / NAMES[0] / "config.yaml").write_text(to_yaml(small_config(seed=5)))
    done = grid(tmp_path / "again", *AXES, "--resume")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "holds a run of another configuration" in done.stderr


def test_a_cell_that_fails_is_told_of_and_stops_no_other(tmp_path):
    (tmp_path / "tiny.yaml").write_text(to_yaml(small_config(epochs=1)))
    axes = ["--grid", "data.n_train=99999,96,64"]
    done = grid(tmp_path, *axes)
    assert done.returncode == 1
    assert "completed: 2 of 3 cells in grid" in done.stdout
    last = done.stderr.splitlines()[-1]
    assert last.startswith("overfit-lab: cell n_train99999-seed0 failed: ")
    assert "the same command with --resume tries it again" in last
    assert "Traceback" not in done.stderr
    assert [run.name for run in find_runs([tmp_path / "grid"])] == ["n_train64-seed0", "n_train96-seed0"]
    again = grid(tmp_path, *axes, "--resume")
    assert again.returncode == 1
    assert "completed: 2 of 3 cells in grid" in again.stdout


def test_a_killed_worker_is_a_failed_cell_that_is_tried_again(tmp_path):
    """A model that kills its own process, the first time that it is in its second epoch."""
    (tmp_path / "deadly.py").write_text(
        "import os\nfrom pathlib import Path\n\nfrom torch import nn\n\n\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, n_classes, mark: str = ''):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(64, n_classes))\n"
        "        self.mark, self.run = mark, Path('grid') / f'mark_{mark}-seed0' / 'checkpoints'\n\n"
        "    def forward(self, x):\n"
        "        if self.mark == 'bad' and (self.run / 'epoch-0001.safetensors').is_file() and "
        "not Path('killed').exists():\n"
        "            Path('killed').touch()\n"
        "            os.kill(os.getpid(), 9)\n"
        "        return super().forward(x)\n"
    )
    config = small_config(probes={"metrics": []}, epochs=3)
    (tmp_path / "tiny.yaml").write_text(to_yaml(config))
    arguments = ["--set", "model.name=deadly:Net", "--grid", "model.mark=bad,good", "--jobs", "2"]
    done = grid(tmp_path, *arguments)
    assert done.returncode == 1
    assert "cell mark_bad-seed0 failed: its process was killed by SIGKILL" in done.stderr.splitlines()[-1]
    assert Run.open(tmp_path / "grid" / "mark_bad-seed0").info["status"] == "failed"
    assert Run.open(tmp_path / "grid" / "mark_good-seed0").info["status"] == "completed"
    again = grid(tmp_path, *arguments, "--resume")
    assert again.returncode == 0, again.stderr
    one, two = (rows(tmp_path / "grid" / f"mark_{mark}-seed0") for mark in ("bad", "good"))
    assert one == two


THREE = ["--grid", "labels.r=0.2,0.4,0.6"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A grid of three cells that is long enough to be stopped in the middle."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    (folder / "tiny.yaml").write_text(to_yaml(small_config(epochs=12)))
    assert grid(folder, *THREE, "--jobs", "2").returncode == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_stopped_in_the_middle_and_resumed_equals_uninterrupted(uninterrupted, tmp_path, number):
    shutil.copy(uninterrupted / "tiny.yaml", tmp_path)
    arguments = [*THREE, "--jobs", "2"]
    process = subprocess.Popen(
        command(tmp_path, *arguments), cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_for(lambda: list((tmp_path / "grid").glob("*/checkpoints/epoch-0003.safetensors")))
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    _, err = process.communicate(timeout=60)
    if number != signal.SIGKILL:
        assert process.returncode == 130
        assert err.splitlines()[-1] == "overfit-lab: interrupted; the same command with --resume goes on in grid"
        assert "Traceback" not in err
        assert {run.info["status"] for run in find_runs([tmp_path / "grid"])} <= {"interrupted", "completed"}
    done = grid(tmp_path, *arguments, "--resume")
    assert done.returncode == 0, done.stderr
    assert "completed: 3 of 3 cells" in done.stdout
    for run in find_runs([uninterrupted / "grid"]):
        assert_same_run(tmp_path / "grid" / run.name, run.folder)


def test_from_python(tmp_path):
    config = small_config(epochs=1, probes={"metrics": []})
    result = run_grid(config, {}, [4, 5], tmp_path / "grid", jobs=1, device="cpu")
    assert result.failures == {}
    assert result.completed == [tmp_path / "grid" / "seed4", tmp_path / "grid" / "seed5"]
    assert [Run.open(folder).config.seed for folder in result.completed] == [4, 5]
    train_run(apply_overrides(config, ["seed=5"]), tmp_path / "plain", device="cpu")
    assert len(rows(result.completed[1])) == len(rows(tmp_path / "plain"))


def test_stopped_while_a_cell_has_no_time_to_say_so(tmp_path, monkeypatch):
    """As where a worker does not end by itself and is killed: run.json still does not say that it is running."""
    config = small_config(epochs=2, probes={"metrics": []})

    def begin_and_stop(jobs, *_, **__):
        train_run(config, tmp_path / "grid" / jobs[0].name, device="cpu")
        path = tmp_path / "grid" / jobs[0].name / "run.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "status": "running"}))
        raise KeyboardInterrupt

    monkeypatch.setattr("overfit_lab.sweeps.grid.run_jobs", begin_and_stop)
    with pytest.raises(KeyboardInterrupt):
        run_grid(config, {}, [0, 1], tmp_path / "grid", jobs=1, device="cpu")
    (run,) = find_runs([tmp_path / "grid"])
    assert run.info["status"] == "interrupted"
