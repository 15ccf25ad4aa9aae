"""Jobs in processes: results, failures of every kind, stops, and no process left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from overfit_lab.errors import ConfigError
from overfit_lab.processes.pool import Job, run_jobs


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
from overfit_lab.processes.pool import Job, run_jobs
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


def fail_at_first(report, folder, times):
    """Fail as often as is asked for, by every way of failing in turn."""
    tries = len(list(Path(folder).iterdir()))
    (Path(folder) / f"try-{tries}").touch()
    report(0.5, f"try {tries}")
    if tries < times:
        work(report, ("die", "break")[tries % 2])


@pytest.mark.parametrize(("n_retries", "n_tries"), [(0, 1), (1, 2), (2, 3), (5, 3)])
def test_a_job_that_failed_is_begun_again_as_often_as_allowed(tmp_path, n_retries, n_tries):
    seen = Seen()
    jobs = [Job("frail", fail_at_first, (tmp_path, 2)), Job("well", work, ("well",))]
    failures = run_jobs(jobs, seen, n_processes=1, n_retries=n_retries)
    assert len(list(tmp_path.iterdir())) == n_tries
    assert set(failures) == (set() if n_tries == 3 else {"frail"})
    names = ("started", "frail"), ("started", "well")
    assert [event for event in seen.events if event[0] == "started"] == [*names]
    ends = [event for event in seen.events if event[0] == "ended"]
    assert len(ends) == 2
    assert ("ended", "frail", failures.get("frail")) in ends


def name_of_main(report, folder):
    """Whether the file that the first process was begun with is known here."""
    (Path(folder) / str(hasattr(sys.modules["__main__"], "__file__"))).touch()


@pytest.mark.parametrize("import_main", [True, False])
def test_processes_import_the_beginning_of_the_first_only_where_they_are_to(tmp_path, import_main):
    before = sys.modules["__main__"]
    job = Job("a", name_of_main, (tmp_path,))
    assert run_jobs([job], Seen(), n_processes=1, import_main=import_main) == {}
    assert sys.modules["__main__"] is before
    if not import_main:
        assert [path.name for path in tmp_path.iterdir()] == ["False"]
