"""What a signal does to a command, wherever it comes: the run is left resumable, and one line says how to go on."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from overfit_lab.cli.main import run
from overfit_lab.config import to_yaml
from overfit_lab.processes.signals import STOPPING, told_to_stop
from overfit_lab.records import layout
from overfit_lab.records.status import status_of
from overfit_lab.training.run import train_run
from tiny import tiny_config

NAMES = [number.name for number in STOPPING]


@pytest.fixture(autouse=True)
def _handlers():
    """As of a process that nobody has told anything; a shell has SIGINT and SIGQUIT ignored in the background."""
    before = {number: signal.getsignal(number) for number in STOPPING}
    for number in STOPPING:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("signals") / "run"
    train_run(tiny_config(epochs=1, probes={}), folder, device="cpu")
    return folder


def signalled(monkeypatch, number, module, name):
    """Send this process a signal when a function is called the first time."""
    import importlib

    place = importlib.import_module(module)
    before, sent = getattr(place, name), []

    def first(*args, **kwargs):
        if not sent:
            sent.append(1)
            os.kill(os.getpid(), number)
        return before(*args, **kwargs)

    monkeypatch.setattr(place, name, first)
    return sent


@pytest.mark.parametrize("name", NAMES)
def test_a_signal_leaves_a_run_that_is_resumed(name, tmp_path, monkeypatch, capfd):
    """SIGHUP of a closed ssh, SIGQUIT, SIGUSR1 and SIGXCPU killed the process; its run said ``running`` for ever."""
    number = signal.Signals[name]
    (tmp_path / "tiny.yaml").write_text(to_yaml(tiny_config(epochs=3, probes={})))
    sent = signalled(monkeypatch, number, "overfit_lab.training.loop", "evaluate")
    arguments = ["train", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "run"), "--device", "cpu"]
    assert run(arguments) == 130
    assert sent
    err = capfd.readouterr().err
    by = "" if name in ("SIGINT", "SIGTERM") else f" by {name}"
    assert f"overfit-lab: interrupted{by}; the same command with --resume goes on in" in err
    assert status_of(tmp_path / "run") == "interrupted"
    assert run([*arguments, "--resume"]) == 0
    assert status_of(tmp_path / "run") == "completed"


LOOKING = {
    "resume": (["train", "CONFIG", "--out", "RUN", "--resume"], "overfit_lab.training.run", "build"),
    "probe": (["probe", "RUN", "--metric", "calibration"], "overfit_lab.training.probing", "doubted"),
    "evaluate": (["evaluate", "RUN"], "overfit_lab.records.layout", "is_run"),
    "check": (["check", "RUN"], "overfit_lab.records.layout", "is_run"),
    "report": (["report", "RUN", "--out", "OUT.html"], "overfit_lab.records.layout", "is_run"),
    "watch": (["watch", "RUN"], "overfit_lab.records.layout", "is_run"),
    "figure": (["figure", "overview", "RUN", "--out", "OUT.png"], "overfit_lab.records.layout", "is_run"),
    "sweep": (["sweep", "SWEEP", "--out", "OUT"], "overfit_lab.processes.pool", "told_to_stop"),
    "demo": (["demo", "--out", "OUT"], "overfit_lab.cli.demo", "train_all"),
}


@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR1"])
@pytest.mark.parametrize("command", LOOKING)
def test_a_signal_ends_any_command_in_one_line(command, name, trained, tmp_path, monkeypatch, capfd):
    words, module, function = LOOKING[command]
    (tmp_path / "c.yaml").write_text(to_yaml(tiny_config(epochs=1, probes={})))
    (tmp_path / "s.yaml").write_text(f"base: {tmp_path}/c.yaml\ngrid: {{labels.r: [0.2, 0.6]}}\n")
    names = {"RUN": trained, "CONFIG": tmp_path / "c.yaml", "SWEEP": tmp_path / "s.yaml", "OUT": tmp_path / "out"}
    names |= {"OUT.html": tmp_path / "out.html", "OUT.png": tmp_path / "out.png"}
    signalled(monkeypatch, signal.Signals[name], module, function)
    monkeypatch.chdir(tmp_path)
    assert run([str(names.get(word, word)) for word in words]) == 130
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("overfit-lab: interrupted")]
    assert len(lines) == 1
    assert lines[0].startswith(f"overfit-lab: interrupted by {name}")
    assert status_of(trained) == "completed"
    assert not [path for path in tmp_path.rglob(".*") if path.name.endswith(".partial")]
    assert not list(layout.evaluations(trained).glob(".*"))


def test_what_was_ignored_stays_ignored(tmp_path, monkeypatch):
    """nohup has SIGHUP ignored before the command is begun."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    (tmp_path / "tiny.yaml").write_text(to_yaml(tiny_config(epochs=1, probes={})))
    signalled(monkeypatch, signal.SIGHUP, "overfit_lab.training.loop", "evaluate")
    assert run(["train", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "run"), "--device", "cpu"]) == 0
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_handlers_are_as_before_after_a_command(trained):
    before = {number: signal.getsignal(number) for number in STOPPING}
    assert run(["compare", str(trained)]) == 0
    assert {number: signal.getsignal(number) for number in STOPPING} == before


def test_somebody_elses_handler_stays_while_jobs_run():
    """A scheduler's library sets its own for SIGUSR1 or SIGUSR2, such as to put the job into the queue again."""
    heard = []
    signal.signal(signal.SIGUSR1, lambda *_: heard.append("USR1"))
    with told_to_stop() as stop:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert heard == ["USR1"]
        assert not stop.is_set()
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop.is_set()


SCRIPT = """
import sys, time
from overfit_lab.processes.signals import stopping_a_command
with stopping_a_command():
    try:
        print("begun", flush=True)
        time.sleep(30)
    except KeyboardInterrupt:
        print("stopping", flush=True)
        time.sleep(30)
"""


@pytest.mark.parametrize("wait", [0.0, 1.3])
def test_a_second_signal_ends_a_command_at_once(wait):
    """But not the same order given by the terminal and by a scheduler within a second."""
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGHUP)
    assert process.stdout.readline() == "stopping\n"
    time.sleep(wait)
    process.send_signal(signal.SIGTERM)
    if wait:
        assert process.wait(timeout=10) == -signal.SIGTERM
    else:
        time.sleep(0.3)
        assert process.poll() is None
        process.kill()
        process.wait()
    process.stdout.close()


def test_commands_run_in_a_thread_too(trained):
    status = []
    thread = threading.Thread(target=lambda: status.append(run(["compare", str(trained)])))
    thread.start()
    thread.join()
    assert status == [0]
