"""A real Slurm on this machine: a sweep, a job that is requeued, one that is warned of its time limit, one cancelled.

Without Slurm these tests are skipped, except where OVERFIT_LAB_NEED_SLURM is set.
"""

import json
import os
import signal
import subprocess
import time

import pytest
import slurm
from sweeping import cells, command, states, sweep, wait_for, write_base, write_sweep

from overfit_lab.records.writer import is_held
from same_run import assert_same_run

pytest.importorskip("submitit", reason="submitit is not installed")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    missing = slurm.absent()
    if missing and not os.environ.get("OVERFIT_LAB_NEED_SLURM"):
        pytest.skip(f"no Slurm here: {', '.join(missing)}")
    assert not missing, f"OVERFIT_LAB_NEED_SLURM is set, and there is no {', '.join(missing)}"
    with slurm.cluster(tmp_path_factory.mktemp("slurm")) as found:
        yield found


def number_of(folder, name):
    return (folder / "slurm" / "numbers" / cells(folder)[name].name).read_text()


def reached(folder, epoch):
    return list(folder.glob(f"*/checkpoints/epoch-{epoch:04d}.safetensors"))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    write_base(folder, epochs=100, probes={"metrics": []})
    write_sweep(folder, "seeds: 2")
    done = sweep(folder, "sweep.yaml", "--out", "out", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("how", ["requeue", "warning"])
def test_a_job_that_is_stopped_by_slurm_goes_on_from_its_checkpoint(environment, uninterrupted, how):
    """By ``scontrol requeue``, as for a preempted job; and by the signal that comes before the time limit."""
    folder = uninterrupted / f"by-{how}"
    process = subprocess.Popen(
        command("sweep.yaml", "--out", folder.name, "--backend", "slurm", "-o", "partition=main"),
        cwd=uninterrupted,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: (folder / "sweep.json").is_file())
    cell = cells(folder)["seed0"]
    early = wait_for(lambda: [p for p in reached(folder, 3) if p.parents[1] == cell])[0]
    written = early.stat().st_mtime_ns
    number = number_of(folder, "seed0")
    if how == "requeue":
        slurm.ask("scontrol", "requeue", number, environment=environment)
    else:
        slurm.ask("scancel", "--signal=USR2", number, environment=environment)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert "completed: 2 of 2 cells" in out
    log = (folder / "logs" / f"{cell.name}.log").read_text()
    assert log.count(" process ") == 2, log
    assert early.stat().st_mtime_ns == written, "it began anew"
    for name, path in cells(folder).items():
        assert_same_run(path, cells(uninterrupted / "out")[name])


def test_detached_cells_are_looked_at_cancelled_and_gone_on_with(environment, tmp_path):
    write_base(tmp_path, epochs=8000, probes={"metrics": []}, evaluation={"every": 100, "n_steps": 2, "chunk": 64})
    write_sweep(tmp_path, "seeds: 3\nbackend: slurm")
    done = sweep(tmp_path, "sweep.yaml", "--out", "out", "--detach", "--jobs", "1", env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "submitted: 3 of 3 cells in out"
    wait_for(lambda: reached(tmp_path / "out", 3))
    assert sorted(states(tmp_path / "out").values()) == ["running", "waiting", "waiting"]
    assert len(slurm.ask("squeue", "--array", "--noheader", environment=environment).splitlines()) == 3
    again = subprocess.Popen(
        command("resume", "out"),
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: is_held(tmp_path / "out"))
    time.sleep(2)
    assert len(slurm.ask("squeue", "--array", "--noheader", environment=environment).splitlines()) == 3
    again.send_signal(signal.SIGINT)
    out, err = again.communicate(timeout=90)
    assert (again.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "overfit-lab: interrupted; overfit-lab sweep resume out goes on"
    assert wait_for(lambda: not slurm.ask("squeue", "--noheader", environment=environment))
    assert sorted(states(tmp_path / "out").values()) == ["interrupted", "waiting", "waiting"]
    content = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert content["sweep"]["backend"] == "slurm"
