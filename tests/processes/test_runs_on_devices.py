"""Whole runs on two processes by the command line: as one process makes them, stopped, killed, hung, resumed."""

import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from overfit_lab.cli import main
from overfit_lab.config import to_yaml
from overfit_lab.config.permission import allow
from overfit_lab.errors import FailedError
from overfit_lab.records.reader import Run
from overfit_lab.training import launch
from overfit_lab.training.checkpoint import load_checkpoint
from overfit_lab.training.events import EventBus, StepEnded
from overfit_lab.training.probing import probe_run
from overfit_lab.training.run import train_run
from tiny import METRICS, tiny_config

HERE = Path(__file__).parent
KEYS = ["epoch", "probe", "field", "split", "inputs", "labels", "n"]
LONGEST = 120


def config_of(**changes):
    """Without batch norm, so that two processes give the numbers of one to rounding."""
    allow("together:plain")
    given = {"model": {"name": "together:plain"}, "labels": {"name": "sglr", "start_epoch": 0}}
    probes = {"every": 2, "metrics": [m for m in METRICS if m not in ("features", "logit-geometry")], "n": 40}
    return tiny_config(**{**given, "epochs": 6, "probes": probes, "checkpoint": {"every": 1, "steps": 1}, **changes})


def environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])}


def command(*arguments):
    return [sys.executable, "-W", "ignore", "-m", "overfit_lab", "train", "tiny.yaml", "--trust", "--device", "cpu",
            *arguments]  # fmt: skip


def run(folder, *arguments, start=command):
    given = start(*arguments)
    return subprocess.run(given, cwd=folder, env=environment(), capture_output=True, text=True, timeout=LONGEST)


def torchrun(*arguments):
    return [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--nproc-per-node", "2",
            "--master-addr", "127.0.0.1", "--master-port", str(free_port()), *command(*arguments)[3:]]  # fmt: skip


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
def place(tmp_path):
    (tmp_path / "tiny.yaml").write_text(to_yaml(config_of()))
    return tmp_path


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run of one process."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    sys.path.insert(0, str(HERE))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert train_run(config_of(), folder, device="cpu") == "completed"
    torch.set_num_threads(threads)
    return folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The run of two processes, and what the command said."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "tiny.yaml").write_text(to_yaml(config_of()))
    done = run(folder, "--out", "run", "--devices", "2")
    assert done.returncode == 0, done.stderr
    return folder / "run", done


def numbers(folder):
    frame = Run.open(folder).records
    frame = frame[~frame["field"].str.startswith("seconds")]
    return frame[[*KEYS, "value"]].reset_index(drop=True)


def close(one, other, rel=2e-3):
    """The same rows, and numbers that agree as far as rounding lets a few epochs agree."""
    a, b = numbers(one), numbers(other)
    assert a[KEYS].equals(b[KEYS])
    known = a["value"].notna()
    assert (known == b["value"].notna()).all()
    # an image on the border between two classes may be counted otherwise: one of 40
    accuracies = a["field"].str.contains("acc|fitted|ece|mce|auc|conf|overfits|onset|peak|p$|loss_since")
    for i in a.index[known & ~accuracies]:
        assert b["value"][i] == pytest.approx(a["value"][i], rel=rel, abs=1e-4), a.loc[i]
    same_weights(one, other, 1e-4)


def same_weights(one, other, within, name="last"):
    a, b = (load_checkpoint(folder / "checkpoints" / f"{name}.safetensors") for folder in (one, other))
    for mine, theirs in ((a.model, b.model), (a.labels, b.labels)):
        assert mine.keys() == theirs.keys()
        for key in mine:
            assert (mine[key].double() - theirs[key].double()).abs().max() <= within, key


def status(folder):
    return json.loads((folder / "run.json").read_text())["status"]


def children(pid):
    """The processes that a run's command has started, in the order of their start, that train."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            line = (path / "cmdline").read_bytes().split(b"\0")
            if parent == pid and (b"spawn_main" in b" ".join(line) or b"overfit_lab" in line):
                found.append(int(path.name))
    return sorted(found)


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@contextlib.contextmanager
def training(folder, *arguments, start=command, out="run"):
    """The command while it trains, from its first checkpoint within an epoch on."""
    process = subprocess.Popen(
        start(*arguments), cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(lambda: (folder / out / "checkpoints" / "midway.safetensors").is_file() or process.poll() is not None)
        assert process.poll() is None, process.stderr.read()
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def long_config():
    """Long enough to be stopped on the way; a checkpoint after every step."""
    return to_yaml(config_of(epochs=4000, probes={}, evaluation={"every": 4000, "n_steps": 3, "chunk": 24}))


def test_two_processes_make_the_run_of_one(alone, shared):
    folder, done = shared
    close(alone, folder)
    assert status(folder) == "completed"
    assert Run.open(folder).info["processes"] == 2
    assert not (folder / "checkpoints" / "midway.safetensors").exists()
    assert "completed: run" in done.stdout
    assert done.stderr.count("epoch 6/6") == 1


def measured_later(folder, metrics, checkpoint, weights):
    found = {}
    for record in probe_run(folder, metrics, checkpoint=checkpoint, device="cpu", save=False, weights=weights):
        found[record.probe, record.field, record.split, record.inputs] = record.value
    return found


@pytest.mark.slow
def test_every_probe_measures_what_one_process_measures(tmp_path):
    """At the weights of a run of two processes, and at those that its regularizer keeps."""
    config = tiny_config(epochs=2, regularizers=[{"name": "swa", "start_epoch": 1}], schedule="constant")
    (tmp_path / "tiny.yaml").write_text(to_yaml(config))
    done = run(tmp_path, "--out", "run", "--devices", "2")
    assert done.returncode == 0, done.stderr
    frame = Run.open(tmp_path / "run").records
    for weights, suffix in (("raw", ""), ("swa", "@swa")):
        names = [f"{metric}{suffix}" for metric in METRICS]
        live = frame[(frame["epoch"] == 2) & frame["probe"].isin(names)]
        assert set(live["probe"]) == set(names)
        later = measured_later(tmp_path / "run", METRICS, "2", weights)
        assert len(live) == len(later) > 100
        for row in live.itertuples():
            value = later[row.probe, row.field, row.split, row.inputs]
            assert row.value == value or (math.isnan(row.value) and (value is None or math.isnan(value))), row


@pytest.mark.slow
def test_sizes_for_a_budget_are_chosen_once_for_all_processes(tmp_path):
    probes = {"every": 10, "metrics": ["calibration", "confidence"], "budget": "100%"}
    (tmp_path / "tiny.yaml").write_text(to_yaml(tiny_config(epochs=20, schedule="constant", probes=probes)))
    done = run(tmp_path, "--out", "run", "--devices", "2")
    assert done.returncode == 0, done.stderr
    found = Run.open(tmp_path / "run")
    sizes = found.info["probe_sizes"]
    assert set(sizes) == {"calibration", "confidence"}
    for name, n in sizes.items():
        measured = found.records[(found.records["probe"] == name) & (found.records["split"] == "train")]
        assert measured.empty or set(measured["n"]) == {min(n, 96)}


@pytest.mark.slow
def test_a_teacher_is_trained_first_by_all_processes(tmp_path):
    config = config_of(epochs=2, labels={"name": "kd", "teacher": "train:standard"}, probes={})
    (tmp_path / "tiny.yaml").write_text(to_yaml(config))
    done = run(tmp_path, "--out", "run", "--devices", "2")
    assert done.returncode == 0, done.stderr
    sys.path.insert(0, str(HERE))
    assert train_run(config, tmp_path / "alone", device="cpu", trust=True) == "completed"
    close(tmp_path / "alone", tmp_path / "run")
    close(tmp_path / "alone" / "teachers" / "standard", tmp_path / "run" / "teachers" / "standard")


@pytest.mark.slow
def test_torchrun_makes_the_same_run(shared, place):
    done = run(place, "--out", "run", start=torchrun)
    assert done.returncode == 0, done.stderr
    assert numbers(place / "run").equals(numbers(shared[0]))
    same_weights(place / "run", shared[0], 0)
    again = run(place, "--out", "run", start=torchrun)
    ours = [line for line in again.stderr.splitlines() if line.startswith("overfit-lab:")]
    assert again.returncode != 0
    assert ours == ["overfit-lab: run: already holds a run; go on with it by --resume, or choose another --out"]


@pytest.mark.slow
def test_two_machines_make_the_same_run(shared, place):
    at = ["--out", "run", "--devices", "1", "--nodes", "2", "--rendezvous", f"127.0.0.1:{free_port()}"]
    both = [
        subprocess.Popen(command(*at, "--node-rank", str(rank)), cwd=place, env=environment(), stderr=subprocess.PIPE)
        for rank in (0, 1)
    ]
    for process in both:
        _, errors = process.communicate(timeout=LONGEST)
        assert process.returncode == 0, errors
    assert numbers(place / "run").equals(numbers(shared[0]))


@pytest.mark.slow
def test_a_first_machine_that_does_not_come_is_told_of_in_one_line(place):
    at = f"127.0.0.1:{free_port()}"
    second = ["--nodes", "2", "--node-rank", "1", "--rendezvous", at, "--timeout", "2"]
    done = run(place, "--out", "run", *second)
    assert done.returncode == 1
    assert done.stderr == f"overfit-lab: process 1 of 2: {at} was not reached within 2 s\n"
    assert not (place / "run").exists()


@pytest.mark.slow
def test_resumed_with_two_then_one_then_two_processes(alone, tmp_path):
    (tmp_path / "tiny.yaml").write_text(to_yaml(config_of(epochs=6)))
    out, epochs = tmp_path / "run", []
    for devices in (2, 1):
        resume = ["--resume"] if epochs else []
        begun = epochs[-1] if epochs else 0
        process = subprocess.Popen(
            command("--out", "run", "--devices", str(devices), *resume),
            cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        wait_for(lambda begun=begun: epoch_of(out) > begun)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=LONGEST)
        assert process.returncode == 130, errors
        assert "interrupted; the same command with --resume goes on in run" in errors
        assert status(out) == "interrupted"
        epochs.append(epoch_of(out))
    assert 0 < epochs[0] < epochs[1] < 6
    done = run(tmp_path, "--out", "run", "--devices", "2", "--resume")
    assert done.returncode == 0, done.stderr
    close(alone, out)


def epoch_of(folder):
    path = folder / "checkpoints" / "last.safetensors"
    return load_checkpoint(path).clock.epoch if path.is_file() else 0


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_run_which_can_be_resumed(place, victim):
    (place / "tiny.yaml").write_text(long_config())
    with training(place, "--out", "run", "--devices", "2", "--timeout", "60") as process:
        both = children(process.pid)
        assert len(both) == 2
        began = time.monotonic()
        os.kill(both[victim], signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
    assert time.monotonic() - began < 30
    assert process.returncode == 1
    lines = [line for line in errors.splitlines() if line.startswith("overfit-lab:")]
    assert len(lines) == 1
    assert f"process {victim} of 2: its process was killed by SIGKILL" in lines[0]
    assert "--resume goes on in run" in lines[0]
    assert "Traceback" not in errors
    assert status(place / "run") == "failed"
    assert not any(Path(f"/proc/{pid}").exists() for pid in both)
    before = load_checkpoint(resumable(place / "run")).clock.step
    with training(place, "--out", "run", "--devices", "2", "--resume") as process:
        wait_for(lambda: load_checkpoint(resumable(place / "run")).clock.step > before)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert status(place / "run") == "interrupted"


def resumable(folder):
    from overfit_lab.records.layout import resumable_path

    return resumable_path(folder)


@pytest.mark.slow
def test_a_process_that_hangs_ends_the_run_within_the_timeout(place):
    (place / "tiny.yaml").write_text(long_config())
    with training(place, "--out", "run", "--devices", "2", "--timeout", "8") as process:
        _, second = children(process.pid)
        began = time.monotonic()
        os.kill(second, signal.SIGSTOP)
        _, errors = process.communicate(timeout=60)
    assert time.monotonic() - began < 8 + 15 + 10
    assert process.returncode == 1
    assert "overfit-lab: process 0 of 2: another process did not answer" in errors
    assert status(place / "run") == "failed"
    assert not Path(f"/proc/{second}").exists()


@pytest.mark.slow
def test_a_process_of_torchrun_that_is_killed_ends_the_run(place):
    (place / "tiny.yaml").write_text(long_config())
    with training(place, "--out", "run", "--timeout", "60", start=torchrun) as process:
        wait_for(lambda: len(children(process.pid)) == 2)
        first, _ = children(process.pid)
        os.kill(first, signal.SIGKILL)
        process.communicate(timeout=60)
    assert process.returncode != 0
    assert status(place / "run") == "failed"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--devices", "0"], "--devices 0: expected 1 or more"),
        (["--nodes", "2"], "--nodes needs --rendezvous HOST:PORT"),
        (["--nodes", "2", "--node-rank", "2"], "--node-rank 2: expected 0 to 1 for 2 nodes"),
        (["--devices", "2", "--rendezvous", "here"], "--rendezvous 'here': expected HOST:PORT"),
        (["--devices", "2", "--timeout", "0"], "--timeout 0: expected seconds above 0"),
        (["--devices", "2", "--seeds", "2"], "--devices goes with one run"),
        (["--devices", "40"], "batch_size = 32: 40 processes need 80 or more"),
        (
            ["--devices", "2", "--set", "objective.name=clp", "--set", "batch_size=30"],
            "pairs the two halves of a batch",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(place, arguments, line, monkeypatch, capsys):
    monkeypatch.chdir(place)
    assert main.run(["train", "tiny.yaml", "--trust", "--device", "cpu", "--out", "run", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("overfit-lab: ")
    assert line in said
    assert len(said.splitlines()) == 1
    assert not (place / "run").exists()


def test_a_run_stopped_within_an_epoch_goes_on_as_if_it_had_not_been(alone, tmp_path):
    """To the bit, with one process; whichever step it was stopped at."""
    for i, stop in enumerate((1, 4, 5)):
        folder = tmp_path / str(i)
        bus = EventBus()

        def ended(event, stop=stop):
            if event.clock.step == stop:
                raise KeyboardInterrupt

        bus.on(StepEnded, ended)
        assert train_run(config_of(), folder, device="cpu", bus=bus) == "interrupted"
        assert train_run(None, folder, resume=True, device="cpu", trust=True) == "completed"
        assert numbers(folder).equals(numbers(alone))
        same_weights(folder, alone, 0)
        same_weights(folder, alone, 0, "initial")


@pytest.mark.parametrize("reason", ["another process is gone", "its process was killed by SIGKILL"])
def test_the_line_about_a_lost_process_names_it_once(tmp_path, monkeypatch, reason):
    """A process that lost the others says which one it is, as it has to under torchrun."""
    named = f"process 1 of 2: {reason}"
    said = named if "another" in reason else reason
    monkeypatch.setattr(launch, "run_jobs", lambda *_, **__: {"process 1": said})
    with pytest.raises(FailedError) as error:
        launch.train_on_devices(config_of(model="mlp"), tmp_path / "run", launch.Layout(2), device="cpu")
    assert str(error.value) == named
