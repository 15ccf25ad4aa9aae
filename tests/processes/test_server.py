"""Processes that come from a server are as those that begin afresh, and no server is left behind."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from test_pool import Seen, is_alive, wait_for

import overfit_lab
from overfit_lab.processes import server
from overfit_lab.processes.pool import Job, run_jobs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the system has no such server")
HERE = Path(__file__).parent
WHOLE = os.environ.get("OVERFIT_LAB_FAULTS") == "whole"


def look(report, path):
    """What this process and the one that forked it are."""
    import torch

    parent = os.getppid()
    Path(path).write_text(
        json.dumps(
            {
                "server": parent,
                "server_threads": len(os.listdir(f"/proc/{parent}/task")),
                "server_blocks": next(
                    int(line.split()[1], 16)
                    for line in Path(f"/proc/{parent}/status").read_text().splitlines()
                    if line.startswith("SigBlk")
                ),
                "cuda": torch.cuda.is_initialized(),
                "preloaded": server.PRELOADED in sys.modules,
                "threads": torch.get_num_threads(),
                "folder": os.getcwd(),
                "environment": {n: os.environ.get(n) for n in ("MINE", "CUDA_VISIBLE_DEVICES", "OPENBLAS_NUM_THREADS")},
                "stdin": sys.stdin is None or sys.stdin.read() == "",
            }
        )
    )


def die(report):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def looked(tmp_path, monkeypatch):
    """What jobs saw, of which there may be several."""

    def run(n=1):
        paths = [tmp_path / f"{i}.json" for i in range(n)]
        jobs = [Job(str(i), look, (str(path),)) for i, path in enumerate(paths)]
        assert run_jobs(jobs, Seen(), n_processes=2, n_threads=1, from_server=True) == {}
        return [json.loads(path.read_text()) for path in paths]

    return run


def test_a_job_has_its_own_surroundings(looked, tmp_path, monkeypatch):
    """Environment and folder as where the job was begun, not as where the server was."""
    first = looked(2)
    monkeypatch.setenv("MINE", "later")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    monkeypatch.chdir(tmp_path)
    (second,) = looked()
    assert len({seen["server"] for seen in [*first, second]}) == 1
    assert second["server"] != os.getpid()
    assert second["environment"] == {
        "MINE": "later",
        "CUDA_VISIBLE_DEVICES": "5",
        "OPENBLAS_NUM_THREADS": os.environ.get("OPENBLAS_NUM_THREADS"),
    }
    assert second["folder"] == str(tmp_path)
    assert (second["threads"], second["stdin"]) == (1, True)
    assert first[0]["environment"]["MINE"] is None


def test_the_server_may_be_forked(looked):
    """It has one thread, never asked for CUDA, and no signal to a whole group ends it."""
    (seen,) = looked()
    assert seen["preloaded"]
    assert seen["server_threads"] == 1
    assert not seen["cuda"]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        assert seen["server_blocks"] >> (number - 1) & 1


def test_what_libraries_read_once_needs_a_process_that_begins_afresh(looked, monkeypatch):
    looked()
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    (seen,) = looked()
    assert seen["server"] == os.getpid()
    assert not seen["preloaded"]


def test_a_killed_job_is_told(looked):
    failures = run_jobs([Job("die", die)], Seen(), n_processes=1, from_server=True)
    assert failures == {"die": "its process was killed by SIGKILL, perhaps for want of memory"}


SCRIPT = """
import os, sys
from overfit_lab.processes.pool import Job, run_jobs
from test_pool import Seen
from test_server import wait_and_say
if __name__ == "__main__":
    try:
        run_jobs(
            [Job(str(i), wait_and_say, (sys.argv[1],)) for i in range(3)], Seen(), n_processes=2, from_server=True
        )
    except KeyboardInterrupt:
        sys.exit(130)
"""


def wait_and_say(report, folder):
    import time

    begun = Path(folder, f"{os.getpid()}-{os.getppid()}.begun")
    begun.touch()
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        begun.with_suffix(".stopped").touch()
        raise


@pytest.mark.parametrize("name", ["SIGHUP", "SIGKILL", *(["SIGINT", "SIGTERM"] if WHOLE else [])])
def test_neither_job_nor_server_outlives_who_began_them(name, tmp_path):
    """A terminal's signals reach the whole group, SIGTERM and SIGKILL the parent alone."""
    number = signal.Signals[name]
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # tests may run under nohup
    )
    wait_for(lambda: len(list(tmp_path.glob("*.begun"))) == 2, 60)
    (os.killpg if name in ("SIGINT", "SIGHUP") else os.kill)(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == (-9 if name == "SIGKILL" else 130)
    assert err == b""
    wait_for(lambda: len(list(tmp_path.glob("*.stopped"))) == 2)
    pids = {int(pid) for path in tmp_path.glob("*.begun") for pid in path.stem.split("-")}
    assert len(pids) == 3
    assert process.pid not in pids
    wait_for(lambda: not any(is_alive(pid) for pid in pids))


def test_it_loads_where_the_current_folder_is_gone(tmp_path):
    code = "import os, sys; os.rmdir(os.getcwd()); import overfit_lab.processes.preloaded; print(len(sys.modules))"
    place = tmp_path / "gone"
    place.mkdir()
    surroundings = {**os.environ, "PYTHONPATH": str(Path(overfit_lab.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=place, env=surroundings, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 500
