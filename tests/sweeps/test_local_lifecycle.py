"""Whole sweeps on this machine: extended, with cells that fail, killed and resumed, looked at and collected."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pandas as pd
import pytest
from sweeping import cells, command, inside, manifest, states, sweep, wait_for, write_base, write_sweep

from overfit_lab.config import load_config
from overfit_lab.records.reader import Run, find_runs
from overfit_lab.records.summary import summarise_run
from overfit_lab.sweeps.backends.base import make_backend
from overfit_lab.sweeps.collect import collect
from same_run import assert_same_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A sweep of one cell that is asked for again with a second value and a second seed; what each command said."""
    folder = tmp_path_factory.mktemp("extended")
    write_base(folder, epochs=2)
    write_sweep(folder, "grid: {labels.r: [0.2]}")
    first = sweep(folder, "sweep.yaml", "--out", "out")
    assert first.returncode == 0, first.stderr
    before = {path: path.stat().st_mtime_ns for path in next(iter(cells(folder / "out").values())).rglob("*")}
    write_sweep(folder, "grid: {labels.r: [0.2, 0.6]}\nseeds: 2", "more.yaml")
    second = sweep(folder, "run", "more.yaml", "--out", "out", "--jobs", "2")
    assert second.returncode == 0, second.stderr
    return folder, first, second, before


def test_more_values_and_seeds_train_the_new_cells_alone(extended):
    folder, first, second, before = extended
    assert "completed: 1 of 1 cells in out, 1 of them trained now" in first.stdout
    assert "completed: 4 of 4 cells in out, 3 of them trained now" in second.stdout
    data, *lines = second.stderr.splitlines()
    assert data.startswith("overfit-lab: data digits: ")
    assert sorted(line.split(":")[0] for line in lines) == [
        "r0.2-seed1",
        "r0.6-seed0",
        "r0.6-seed1",
    ]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    again = inside(folder, "more.yaml", "--out", "out")
    assert "completed: 4 of 4 cells in out, 0 of them trained now" in again.stdout
    assert again.stderr == ""
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_cell_is_the_plain_run_of_its_configuration(extended, tmp_path):
    folder = extended[0]
    cell = cells(folder / "out")["r0.6-seed1"]
    code = (
        "import sys, torch; from pathlib import Path; from overfit_lab.config import load_config;"
        "from overfit_lab.training.run import train_run; torch.set_num_threads(1);"
        "train_run(load_config(Path(sys.argv[1])), Path(sys.argv[2]), device='cpu')"
    )
    arguments = [sys.executable, "-c", code, str(cell / "config.yaml"), str(tmp_path / "plain")]
    subprocess.run(arguments, check=True, timeout=120)
    assert_same_run(cell, tmp_path / "plain")


def test_the_manifest_says_which_folder_is_which_cell(extended):
    folder = extended[0] / "out"
    found = manifest(folder)
    assert [entry["settings"] for entry in found["cells"].values()] == [{"labels.r": r} for r in (0.2, 0.2, 0.6, 0.6)]
    assert [entry["seed"] for entry in found["cells"].values()] == [0, 1, 0, 1]
    assert {run.folder.name for run in find_runs([folder])} == set(found["cells"])
    for key, entry in found["cells"].items():
        config = load_config(folder / key / "config.yaml")
        assert (config.labels.options["r"], config.seed) == (entry["settings"]["labels.r"], entry["seed"])


def test_a_smaller_sweep_keeps_cells_that_were_begun_and_another_base_is_refused(extended, tmp_path):
    shutil.copytree(extended[0], tmp_path / "copy", ignore=shutil.ignore_patterns(".lock"))
    folder = tmp_path / "copy"
    write_sweep(folder, "grid: {labels.r: [0.6]}", "less.yaml")
    assert "completed: 4 of 4 cells in out, 0 of them" in inside(folder, "less.yaml", "--out", "out").stdout
    assert next(iter(manifest(folder / "out")["cells"])) == list(manifest(extended[0] / "out")["cells"])[2]
    write_sweep(folder, "set: {epochs: 3}\ngrid: {labels.r: [0.6]}", "other.yaml")
    refused = inside(folder, "other.yaml", "--out", "out")
    assert refused.returncode == 2
    assert refused.stderr == (
        "overfit-lab: out: holds a sweep with epochs = 2, not 3; make epochs an axis, or choose another --out\n"
    )


def test_a_folder_with_another_run_in_it_is_refused(extended, tmp_path):
    shutil.copytree(extended[0], tmp_path / "copy", ignore=shutil.ignore_patterns(".lock"))
    folder = tmp_path / "copy"
    path = cells(folder / "out")["r0.2-seed0"] / "config.yaml"
    path.write_text(path.read_text().replace("momentum: 0.9", "momentum: 0.8"))
    done = inside(folder, "more.yaml", "--out", "out")
    assert done.returncode == 2
    assert "holds a run with optimizer.momentum = 0.8, the sweep wants 0.9" in done.stderr
    assert done.stderr.count("\n") == 1


def test_status_and_collect_of_what_is_there(extended, tmp_path):
    shutil.copytree(extended[0], tmp_path / "copy", ignore=shutil.ignore_patterns(".lock"))
    folder = tmp_path / "copy" / "out"
    by_name = cells(folder)
    shutil.rmtree(by_name["r0.2-seed0"])
    (folder / "beats" / f"{by_name['r0.2-seed0'].name}.json").unlink()
    for name, status in (("r0.2-seed1", "running"), ("r0.6-seed0", "interrupted")):
        path = by_name[name] / "run.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "status": status}))
    wanted = {"r0.2-seed0": "waiting", "r0.2-seed1": "lost", "r0.6-seed0": "interrupted", "r0.6-seed1": "completed"}
    assert states(folder) == wanted
    plain = inside(folder.parent, "status", "out").stdout.splitlines()
    assert plain[-1] == "4 cells: 1 waiting, 1 lost, 1 interrupted, 1 completed"
    assert plain[0].split() == ["cell", "settings", "state", "epoch", "host", "failure"]
    frame = collect(folder)
    assert dict(zip(frame["name"], frame["status"], strict=True)) == wanted
    assert list(frame["labels.r"]) == [0.2, 0.2, 0.6, 0.6]
    assert frame.loc[0, ["best_epoch", "robust_best", "ece_adv_final"]].isna().all()
    row, own = frame.iloc[3], summarise_run(Run(by_name["r0.6-seed1"]))
    for column in ("best_epoch", "robust_best", "robust_final", "robust_diff", "clean_final", "ece_adv_final"):
        assert row[column] == own[column], column
    assert not [column for column in frame if column.startswith("iiw")]


@pytest.mark.parametrize("suffix", ["csv", "parquet", "md"])
def test_the_table_is_read_back(extended, tmp_path, suffix):
    out, figure = tmp_path / f"table.{suffix}", tmp_path / "sweep.png"
    done = inside(extended[0], "collect", "out", "--out", str(out), "--figure", str(figure))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(out), str(figure)]
    assert figure.read_bytes().startswith(b"\x89PNG")
    frame = collect(extended[0] / "out")
    if suffix == "md":
        assert len(out.read_text().splitlines()) == 2 + len(frame)
        return
    found = pd.read_csv(out) if suffix == "csv" else pd.read_parquet(out)
    pd.testing.assert_frame_equal(found, frame, check_dtype=False)


def test_a_cell_that_fails_is_retried_and_told_of_with_the_end_of_its_log(tmp_path):
    """A model that fails in one cell: the first two times that it is made."""
    (tmp_path / "frail.py").write_text(
        "from pathlib import Path\nfrom torch import nn\n\n\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, n_classes, times: int = 0):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(64, n_classes))\n"
        "        tries = len(list(Path().glob('tried-*')))\n"
        "        if Path('out').is_dir() and tries < times:\n"
        "            Path(f'tried-{tries}').touch()\n"
        "            raise RuntimeError('not today')\n"
    )
    write_base(tmp_path, epochs=1, probes={"metrics": []})
    write_sweep(tmp_path, "set: {model.name: 'frail:Net'}\ngrid: {model.times: [2, 0]}\nretries: 0")
    refused = sweep(tmp_path, "sweep.yaml", "--out", "out")
    assert "names code to run (set.model.name = 'frail:Net')" in refused.stderr
    done = sweep(tmp_path, "sweep.yaml", "--out", "out", "--trust", "--jobs", "1")
    assert done.returncode == 1
    assert "completed: 1 of 2 cells in out" in done.stdout
    assert "cell times2-seed0 failed: unexpected RuntimeError: not today; its log: out/logs/" in done.stderr
    assert "    RuntimeError: not today" in done.stderr.splitlines()
    assert states(tmp_path / "out") == {"times2-seed0": "failed", "times0-seed0": "completed"}
    status = json.loads(inside(tmp_path, "status", "out", "--json").stdout)
    assert status[0]["failure"] == "unexpected RuntimeError: not today"
    assert "add --trust" in inside(tmp_path, "resume", "out").stderr
    again = sweep(tmp_path, "resume", "out", "--trust", "--retries", "1")
    assert again.returncode == 0, again.stderr
    assert len(list(tmp_path.glob("tried-*"))) == 2
    assert "completed: 2 of 2 cells in out, 1 of them trained now" in again.stdout


TEXT = "grid: {labels.r: [0.2, 0.6]}"


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    write_base(folder, epochs=12)
    write_sweep(folder, TEXT)
    done = sweep(folder, "sweep.yaml", "--out", "out", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    return folder


GRID = [sys.executable, "-W", "ignore", "-m", "overfit_lab", "train", "tiny.yaml", "--device", "cpu"]
GRID += ["--grid", "labels.r=0.2,0.6", "--out", "out", "--jobs", "2"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_stopped_in_the_middle_and_resumed_equals_uninterrupted(uninterrupted, tmp_path, number):
    """A sweep from a file, and for SIGTERM one that `train --grid` makes."""
    shutil.copy(uninterrupted / "tiny.yaml", tmp_path)
    write_sweep(tmp_path, TEXT)
    process = subprocess.Popen(
        GRID if number == signal.SIGTERM else command("sweep.yaml", "--out", "out", "--jobs", "2"),
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: list((tmp_path / "out").glob("*/checkpoints/epoch-0003.safetensors")))
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    _, err = process.communicate(timeout=60)
    if number != signal.SIGKILL:
        assert process.returncode == 130
        assert err.splitlines()[-1] == "overfit-lab: interrupted; overfit-lab sweep resume out goes on"
        assert set(states(tmp_path / "out").values()) <= {"interrupted", "completed"}
    for name in ("tiny.yaml", "sweep.yaml"):
        (tmp_path / name).unlink()
    done = sweep(tmp_path, "resume", "out")
    assert done.returncode == 0, done.stderr
    assert "completed: 2 of 2 cells" in done.stdout
    for name, folder in cells(tmp_path / "out").items():
        assert_same_run(folder, cells(uninterrupted / "out")[name])


def test_a_second_process_is_refused_while_one_runs_the_sweep(tmp_path):
    from overfit_lab.records.writer import take_lock

    write_base(tmp_path, epochs=1)
    write_sweep(tmp_path, TEXT)
    (tmp_path / "out").mkdir()
    with take_lock(tmp_path / "out"):
        done = inside(tmp_path, "sweep.yaml", "--out", "out")
    assert (done.returncode, done.stderr) == (2, "overfit-lab: out: another process is running this sweep\n")


def test_a_fourth_backend_is_a_file(monkeypatch):
    from overfit_lab.config.catalog import BACKENDS
    from overfit_lab.sweeps.backends.local import LocalBackend

    class Mine(LocalBackend):
        pass

    assert set(BACKENDS) == {"local", "ray", "slurm"}
    monkeypatch.setitem(BACKENDS._entries, "mine", Mine)
    assert isinstance(make_backend("mine", {}, None), Mine)
