"""Sweeps that `train --grid` and `--seeds` make: as the plain runs, told of, gone on with."""

import json
import os
import subprocess
import sys

import pytest
import torch
from sweeping import cells, inside, manifest, small_config, write_base

from overfit_lab.cli.grid import grid_spec
from overfit_lab.cli.main import run
from overfit_lab.config import to_yaml
from overfit_lab.records.reader import Run, find_runs
from overfit_lab.sweeps.run import run_sweep
from overfit_lab.training.run import train_run
from same_run import assert_same_run, rows
from tiny import tiny_config

AXES = ["--grid", "labels.r=0.2,0.6", "--grid", "optimizer.lr=0.1,0.02"]
NAMES = [f"r{r}-lr{lr}-seed0" for r in ("0.2", "0.6") for lr in ("0.1", "0.02")]


def train(folder, *arguments, out="grid", **environment):
    command = [sys.executable, "-W", "ignore", "-m", "overfit_lab", "train", "tiny.yaml", "--out", out]
    return subprocess.run(
        [*command, "--device", "cpu", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A grid of two by two, by the command line; the folder that it lies in, and what it said."""
    folder = tmp_path_factory.mktemp("whole")
    write_base(folder)
    done = train(folder, *AXES, "--jobs", "2")
    assert done.returncode == 0, done.stderr
    return folder, done


def test_every_cell_is_completed_and_told_of(finished):
    folder, done = finished
    assert list(cells(folder / "grid")) == NAMES
    assert {run.info["status"] for run in find_runs([folder / "grid"])} == {"completed"}
    assert "completed: 4 of 4 cells in grid, 4 of them trained now" in done.stdout
    assert "robust final %" in done.stdout
    said, *lines = done.stderr.splitlines()
    assert said.startswith("overfit-lab: data digits: train 96 from its one pool, ")
    read = {run.info["data"]["read_as"] for run in find_runs([folder / "grid"])}
    assert read == {said.removeprefix("overfit-lab: data ")}
    assert sorted(line.split(":")[0] for line in lines) == sorted(NAMES)
    assert [line.split("(")[1].split(",")[0] for line in lines] == ["1 of 4", "2 of 4", "3 of 4", "4 of 4"]


def test_a_cell_is_the_plain_run_of_its_configuration(finished, tmp_path):
    folder, _ = finished
    arguments = [*("--set", "labels.r=0.6"), *("--set", "optimizer.lr=0.02")]
    assert train(folder, *arguments, out=str(tmp_path / "plain"), OMP_NUM_THREADS="1").returncode == 0
    cell = cells(folder / "grid")["r0.6-lr0.02-seed0"]
    assert_same_run(cell, tmp_path / "plain")
    assert (cell / "config.yaml").read_bytes() == (tmp_path / "plain" / "config.yaml").read_bytes()


def test_it_is_a_sweep_that_more_values_extend(finished, monkeypatch, capfd):
    folder, _ = finished
    monkeypatch.chdir(folder)
    assert run(["train", "tiny.yaml", "--out", "grid", "--device", "cpu", *AXES]) == 2
    assert "grid: already holds a sweep; go on with it by --resume, or choose another --out" in capfd.readouterr()[1]
    assert run(["train", "tiny.yaml", "--out", "grid", "--device", "cpu", *AXES, "--resume"]) == 0
    assert "completed: 4 of 4 cells in grid, 0 of them trained now" in capfd.readouterr()[0]
    assert "completed: 4 of 4 cells in grid, 0 of them" in inside(folder, "resume", "grid").stdout
    assert inside(folder, "status", "grid").stdout.endswith("4 cells: 4 completed\n")
    more = [*AXES[:3], "optimizer.lr=0.1,0.02,0.05", "--set", "epochs=9", "--resume"]
    assert run(["train", "tiny.yaml", "--out", "grid", "--device", "cpu", *more]) == 2
    assert "grid: holds a sweep with epochs = " in capfd.readouterr()[1]


@pytest.mark.parametrize(
    "command",
    [
        ["compare", "grid"],
        ["table", "grid"],
        ["figure", "sweep", "grid", "--out", "{}/a.png"],
        ["diagnose", "grid"],
        ["report", "grid", "--out", "{}/a.html"],
        ["watch", "grid", "--once"],
        ["sweep", "collect", "grid", "--out", "{}/a.csv"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_commands_that_take_folders_take_the_folder_of_a_grid(finished, tmp_path, monkeypatch, command):
    monkeypatch.chdir(finished[0])
    assert run([part.format(tmp_path) for part in command]) == 0


def test_a_cell_that_fails_is_told_of_and_stops_no_other(tmp_path):
    write_base(tmp_path, epochs=1)
    axes = ["--grid", "data.n_train=99999,96,64"]
    done = train(tmp_path, *axes)
    assert done.returncode == 1
    assert "completed: 2 of 3 cells in grid" in done.stdout
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("overfit-lab: cell")]
    assert line.startswith("overfit-lab: cell n_train99999-seed0 failed: ")
    assert done.stderr.splitlines()[-1] == "overfit-lab: overfit-lab sweep resume grid tries again what failed"
    assert "Traceback" not in done.stderr
    names = {run.folder for run in find_runs([tmp_path / "grid"])}
    assert names == {cells(tmp_path / "grid")[f"n_train{n}-seed0"] for n in (64, 96)}
    again = train(tmp_path, *axes, "--resume")
    assert again.returncode == 1
    assert "completed: 2 of 3 cells in grid" in again.stdout


def test_a_killed_worker_is_a_failed_cell_that_is_tried_again(tmp_path):
    """A model that kills its own process, the first time that it is in its second epoch."""
    (tmp_path / "deadly.py").write_text(
        "import os\nfrom pathlib import Path\n\nfrom torch import nn\n\n\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, n_classes, mark: str = ''):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(64, n_classes))\n"
        "        self.mark = mark\n\n"
        "    def forward(self, x):\n"
        "        begun = list(Path('grid').glob(f'mark_{self.mark}-seed0-*/checkpoints/epoch-0001.safetensors'))\n"
        "        if self.mark == 'bad' and begun and not Path('killed').exists():\n"
        "            Path('killed').touch()\n"
        "            os.kill(os.getpid(), 9)\n"
        "        return super().forward(x)\n"
    )
    write_base(tmp_path, probes={"metrics": []}, epochs=3)
    arguments = ["--set", "model.name=deadly:Net", "--grid", "model.mark=bad,good", "--jobs", "2"]
    done = train(tmp_path, *arguments)
    assert done.returncode == 1
    assert "cell mark_bad-seed0 failed: its process was killed by SIGKILL" in done.stderr
    bad, good = (cells(tmp_path / "grid")[f"mark_{mark}-seed0"] for mark in ("bad", "good"))
    assert Run.open(bad).info["status"] == "failed"
    assert Run.open(good).info["status"] == "completed"
    again = train(tmp_path, *arguments, "--resume")
    assert again.returncode == 0, again.stderr
    assert rows(bad) == rows(good)


def test_from_python(tmp_path):
    config = small_config(epochs=1, probes={"metrics": []})
    result = run_sweep(grid_spec(config, [], 2, jobs=1, device="cpu"), tmp_path / "grid")
    assert result.failures == {}
    assert result.completed == list(cells(tmp_path / "grid").values())
    assert [Run.open(folder).config.seed for folder in result.completed] == [0, 1]


def test_stopped_while_a_cell_has_no_time_to_say_so(tmp_path, monkeypatch):
    """As where a worker does not end by itself and is killed: run.json still does not say that it is running."""
    config = small_config(epochs=2, probes={"metrics": []})

    def begin_and_stop(jobs, *_, **__):
        folder = jobs[0].arguments[0].folder
        train_run(config, folder, device="cpu")
        path = folder / "run.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "status": "running"}))
        raise KeyboardInterrupt

    monkeypatch.setattr("overfit_lab.sweeps.backends.local.run_jobs", begin_and_stop)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(grid_spec(config, [], 2, device="cpu"), tmp_path / "grid")
    (run,) = find_runs([tmp_path / "grid"])
    assert run.info["status"] == "interrupted"


def test_one_cell_at_a_time_has_the_threads_of_a_plain_run():
    assert grid_spec(tiny_config(), [], 2).resources.cpus == 1
    assert grid_spec(tiny_config(), [], 2, jobs=3).resources.cpus == 1
    assert grid_spec(tiny_config(), [], 2, jobs=1).resources.cpus == torch.get_num_threads()


BAD = [
    (["--grid", "labels.r"], "expected key=value,value"),
    (["--grid", "labels.r=0,2"], "cell r2-seed0"),
    (["--grid", "seed=0,2"], "seed is no axis"),
    (["--grid", "labels.r=0,0.2", "--seeds", "0"], "--seeds 0"),
    (["--seeds", "2", "--jobs", "0"], "--jobs 0"),
    (["--jobs", "2"], "--jobs goes with --grid or --seeds"),
    (["--seeds", "2", "--resume", "--out", "nowhere"], "no such folder of a sweep"),
    (["--seeds", "2", "--resume", "--out", "."], "not the folder of a sweep"),
    (["--seeds", "2", "--out", "tiny.yaml"], "is a file"),
    (["--seeds", "2", "--device", "tpu"], "expected auto, cpu or cuda"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=lambda value: " ".join(value) if value[0] == "-" else "")
def test_bad_commands_are_one_line_and_status_2(arguments, message, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(to_yaml(tiny_config()))
    assert run(["train", "tiny.yaml", *arguments]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert message in err
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_the_manifest_names_the_axes(finished):
    assert manifest(finished[0] / "grid")["sweep"]["grid"] == {"labels.r": [0.2, 0.6], "optimizer.lr": [0.1, 0.02]}
