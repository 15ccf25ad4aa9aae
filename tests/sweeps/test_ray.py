"""A real Ray cluster of two nodes on this machine, one of which is lost midway; and Ctrl-C."""

import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from sweeping import cells, command, states, sweep, wait_for, write_base, write_sweep

from overfit_lab.records.reader import Run
from same_run import assert_same_run

if find_spec("ray") is None:  # to import it takes seconds, in every worker that collects this file
    pytest.skip("ray is not installed", allow_module_level=True)
pytestmark = pytest.mark.slow

TWELVE = "grid: {labels.r: [0.2, 0.4, 0.6], optimizer.lr: [0.1, 0.02]}\nseeds: 2"


def under_way(folder):
    """Cells that are being trained and have a checkpoint to go on from."""
    found = []
    for path in folder.glob("*/checkpoints/last.safetensors"):
        if Run(path.parents[1]).info["status"] == "running":
            found.append(path.parents[1])
    return found


@pytest.fixture
def two_nodes():
    """The address of a cluster, and a function that kills its second node."""
    script = Path(__file__).with_name("two_nodes.py")
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )

    def tell(word):
        process.stdin.write(f"{word}\n")
        process.stdin.flush()
        return process.stdout.readline().strip()

    address = process.stdout.readline().strip()
    assert address, "the cluster did not start"
    yield address, lambda: tell("kill")
    tell("end")
    process.communicate(timeout=60)


def test_a_lost_node_s_cells_go_on_elsewhere_and_all_are_those_of_local_processes(two_nodes, tmp_path):
    address, kill = two_nodes
    write_base(
        tmp_path,
        epochs=160,
        probes={"every": 80, "metrics": ["calibration"], "n": 40},
        evaluation={"every": 40, "n_steps": 3, "chunk": 64},
        checkpoint={"every": 80},
    )
    write_sweep(tmp_path, TWELVE)
    process = subprocess.Popen(
        command("sweep.yaml", "--out", "on-ray", "--backend", "ray", "--address", address),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    on_ray = tmp_path / "on-ray"
    wait_for(lambda: len(under_way(on_ray)) == 2, 120)  # one on each node
    assert kill().startswith("killed")
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert "completed: 12 of 12 cells in on-ray, 12 of them trained now" in out
    data, *lines = err.splitlines()
    assert data.startswith("overfit-lab: data digits: ")
    assert len(lines) == 12, err  # a line for each cell, and nothing of Ray
    assert all(": completed (" in line for line in lines)
    logs = [path.read_text() for path in (tmp_path / "on-ray" / "logs").iterdir()]
    assert sum(log.count(" process ") for log in logs) > 12, "no cell was begun twice"
    done = sweep(tmp_path, "sweep.yaml", "--out", "here", "--backend", "local", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    here = cells(tmp_path / "here")
    assert len(here) == 12
    for name, folder in cells(on_ray).items():
        assert folder.name == here[name].name
        assert_same_run(folder, here[name])


def test_ctrl_c_stops_the_cells_of_a_cluster_of_its_own(tmp_path):
    write_base(tmp_path, epochs=3000, probes={"metrics": []}, evaluation={"every": 50, "n_steps": 2, "chunk": 64})
    write_sweep(tmp_path, "grid: {labels.r: [0.2, 0.4]}\nseeds: 2")
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    process = subprocess.Popen(
        command("sweep.yaml", "--out", "out", "--backend", "ray"),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment,
    )
    wait_for(lambda: list((tmp_path / "out").glob("*/checkpoints/epoch-0003.safetensors")))
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=90)
    assert (process.returncode, out) == (130, "")
    data, said = err.splitlines()
    assert data.startswith("overfit-lab: data digits: ")
    assert said == "overfit-lab: interrupted; overfit-lab sweep resume out goes on"
    found = states(tmp_path / "out")
    assert set(found.values()) <= {"interrupted", "waiting"}
    assert "interrupted" in found.values()


def test_a_cell_that_fails_is_told_of_with_its_reason(tmp_path):
    write_base(tmp_path, epochs=1, probes={"metrics": []})
    write_sweep(tmp_path, "grid: {data.n_train: [99999, 64]}")
    done = sweep(tmp_path, "sweep.yaml", "--out", "out", "--backend", "ray")
    assert done.returncode == 1
    assert "completed: 1 of 2 cells in out" in done.stdout
    assert "cell n_train99999-seed0 failed: " in done.stderr
    assert "Traceback" not in done.stderr
