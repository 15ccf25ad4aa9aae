"""Jobs in processes: results, failures of every kind, stops, and no process left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from overfit_lab.errors import ConfigError
from overfit_lab.pool import Job, run_jobs


class Seen:
    """A watcher that keeps what it was told."""

    def __init__(self):
        self.events = []

    def started(self, name):
        self.events.append(("started", name))

    def progressed(self, name, share, text):
        self.events.append(("progressed", name, share, text))

    def ended(self, name, failure):
        self.events.append(("ended", name, failure))


def work(report, how):
    report(0.5, "half")
    if how == "refuse":
        raise ConfigError("wrong\nvalue")
    if how == "break":
        raise ZeroDivisionError("some\nthing")
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "leave":
        os._exit(3)
    if how == "stop":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)


def wait_and_note(report, folder):
    """Wait to be told to stop, and note that it was heard."""
    (Path(folder) / f"{os.getpid()}.begun").touch()
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        (Path(folder) / f"{os.getpid()}.stopped").touch()
        raise


def test_each_failure_has_its_reason_and_stops_no_other():
    hows = ["well", "refuse", "break", "die", "leave", "stop"]
    seen = Seen()
    failures = run_jobs([Job(how, work, (how,)) for how in hows], seen, n_processes=3)
    assert failures == {
        "refuse": "wrong value",
        "break": "unexpected ZeroDivisionError: some thing",
        "die": "its process was killed by SIGKILL, perhaps for want of memory",
        "leave": "its process ended with exit status 3",
        "stop": "was told to stop",
    }
    assert [event[1] for event in seen.events if event[0] == "started"] == hows
    assert sorted(event[1:] for event in seen.events if event[0] == "ended" and event[2]) == sorted(failures.items())
    assert ("ended", "well", None) in seen.events
    assert ("progressed", "well", 0.5, "half") in seen.events


def test_the_first_failure_can_end_all(tmp_path):
    jobs = [Job("long", wait_and_note, (str(tmp_path),)), Job("bad", work, ("refuse",)), Job("never", work, ("well",))]
    seen = Seen()
    begun = time.monotonic()
    assert run_jobs(jobs, seen, n_processes=2, stop_at_failure=True) == {"bad": "wrong value"}
    assert time.monotonic() - begun < 30
    assert ("started", "never") not in seen.events


SCRIPT = """
import sys
from overfit_lab.pool import Job, run_jobs
from test_pool import Seen, wait_and_note
if __name__ == "__main__":
    try:
        run_jobs([Job(str(i), wait_and_note, (sys.argv[1],)) for i in range(3)], Seen(), n_processes=2)
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_jobs_end_with_their_parent(tmp_path, number):
    """Ctrl-C reaches the whole group, SIGTERM and SIGKILL the parent alone."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    wait_for(lambda: len(list(tmp_path.glob("*.begun"))) == 2)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, err = process.communicate(timeout=30)
    wait_for(lambda: len(list(tmp_path.glob("*.stopped"))) == 2)
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    assert err == b""
    pids = [int(path.stem) for path in tmp_path.glob("*.begun")]
    wait_for(lambda: not any(is_alive(pid) for pid in pids))


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
