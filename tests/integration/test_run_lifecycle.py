"""Whole runs: kill and resume, live against post hoc, probes leave the weights alone."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from overfit_lab.config import to_yaml
from overfit_lab.config.permission import allow
from overfit_lab.errors import ConfigError, RunFolderError
from overfit_lab.records.reader import Run
from overfit_lab.training.checkpoint import load_checkpoint
from overfit_lab.training.events import EpochEnded, EventBus, GradientsReady, RunEnded, RunStarted, StepEnded
from overfit_lab.training.probing import probe_run
from overfit_lab.training.run import train_run
from tiny import METRICS, tiny_config

KEYS = ["epoch", "step", "probe", "field", "split", "inputs", "labels", "value", "stderr", "n"]


def rows(folder):
    """Every record but for the time that it took."""
    frame = Run.open(folder).records
    frame = frame[~frame["field"].str.startswith("seconds")]
    return [tuple("nan" if value != value else value for value in row) for row in frame[KEYS].itertuples(index=False)]


def same_checkpoint(a: Path, b: Path):
    first, second = load_checkpoint(a), load_checkpoint(b)
    assert first.clock == second.clock
    for one, two in ((first.model, second.model), (first.labels, second.labels)):
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one)
    assert first.optimizer.keys() == second.optimizer.keys()
    for i, state in first.optimizer.items():
        assert all(torch.equal(state[key], second.optimizer[i][key]) for key in state)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert train_run(tiny_config(), folder, device="cpu") == "completed"
    return folder


def test_a_finished_run_says_what_it_is(finished):
    run = Run.open(finished)
    assert run.info["status"] == "completed"
    assert run.info["epoch"] == 4
    assert run.info["data"]["sizes"] == {"train": 96, "val": 32, "test": 64}
    assert run.info["data"]["n_changed"] == run.info["data"]["n_resampled"] == 29
    assert run.info["best"]["split"] == "val"
    assert run.info["best"]["metric"] == "acc_adv"
    assert set(run.records["probe"]) == {*METRICS, "evaluation", "training"}
    assert sorted(run.records["epoch"].unique()) == [1, 2, 3, 4]


def test_best_is_the_maximum_of_its_series(finished):
    run = Run.open(finished)
    series = run.series("evaluation", "acc_adv", "val", "adversarial")
    assert run.info["best"]["value"] == series["value"].max()
    assert run.info["best"]["epoch"] == series.loc[series["value"].idxmax(), "epoch"]


def test_the_same_config_and_seed_give_the_same_records_and_weights(finished, tmp_path):
    train_run(tiny_config(), tmp_path / "again", device="cpu")
    assert rows(finished) == rows(tmp_path / "again")
    same_checkpoint(finished / "checkpoints/last.safetensors", tmp_path / "again/checkpoints/last.safetensors")


def test_weights_are_the_same_without_probes(finished, tmp_path):
    config = tiny_config(probes={"metrics": []})
    train_run(config, tmp_path / "silent", device="cpu")
    same_checkpoint(finished / "checkpoints/last.safetensors", tmp_path / "silent/checkpoints/last.safetensors")


@pytest.mark.parametrize("metric", METRICS)
def test_live_and_post_hoc_agree_to_the_bit(finished, metric):
    live = [row for row in rows(finished) if row[2] == metric]
    epochs = sorted({row[0] for row in live})
    assert epochs == [2, 4]
    arrays = {epoch: Run.open(finished).arrays(metric, epoch) for epoch in epochs}
    later = []
    for epoch in epochs:
        records = probe_run(finished, [metric], checkpoint=str(epoch), device="cpu", save=True)
        later += [tuple("nan" if getattr(r, key) is None else getattr(r, key) for key in KEYS) for r in records]
        again = Run.open(finished).arrays(metric, epoch)
        assert again.keys() == arrays[epoch].keys()
        assert all((again[key] == arrays[epoch][key]).all() for key in again)
    assert sorted(map(str, later)) == sorted(map(str, live))


def test_final_is_the_last_epoch_and_best_the_best(finished):
    run = Run.open(finished)
    assert {r.epoch for r in probe_run(finished, ["calibration"], checkpoint="final", save=False)} == {4}
    best = probe_run(finished, ["calibration"], checkpoint="best", save=False)
    assert {r.epoch for r in best} == {run.info["best"]["epoch"]}
    everything = probe_run(finished, ["calibration"], checkpoint="all", save=False)
    assert {r.epoch for r in everything} == {0, 1, 2, 3, 4}
    with pytest.raises(RunFolderError, match="9"):
        probe_run(finished, ["calibration"], checkpoint="9", save=False)


def test_an_occupied_folder_is_refused_and_left_as_it_is(finished):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    with pytest.raises(RunFolderError, match="resume"):
        train_run(tiny_config(), finished)
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def test_resuming_with_another_configuration_is_refused(finished):
    with pytest.raises(RunFolderError, match="another configuration"):
        train_run(tiny_config(seed=5), finished, resume=True)


def probes_of(*metrics, **settings):
    return {"every": 1, "metrics": list(metrics), "n": 40, **settings}


def interrupted_at(epoch, folder, config):
    """A run that is stopped after its first step of an epoch."""
    bus = EventBus()

    def interrupt(event):
        if event.clock.epoch == epoch:
            raise KeyboardInterrupt

    bus.on(StepEnded, interrupt)
    assert train_run(config, folder, device="cpu", bus=bus) == "interrupted"


def test_probes_may_be_changed_and_left_out_on_resume(tmp_path):
    before, now = probes_of("calibration", "features"), probes_of("calibration", "iiw", every=2)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_run(tiny_config(probes=now), whole, device="cpu")
    interrupted_at(2, parts, tiny_config(probes=before))
    assert train_run(tiny_config(probes=now), parts, resume=True, device="cpu") == "completed"
    run = Run.open(parts)
    assert run.config.probes == tiny_config(probes=now).probes
    changes = run.info["probes_changed"]
    assert [change["epoch"] for change in changes] == [2]
    assert changes[0]["before"] == {"every": 1, "metrics": ["calibration", "features"], "n": 40}
    assert changes[0]["now"] == {"every": 2, "metrics": ["calibration", "iiw"], "n": 40}
    later = [row for row in rows(parts) if row[0] > 2]
    assert later == [row for row in rows(whole) if row[0] > 2]
    earlier = {row[2] for row in rows(parts) if row[0] <= 2}
    assert earlier == {"training", "evaluation", "calibration", "features"}
    same_checkpoint(parts / "checkpoints" / "last.safetensors", whole / "checkpoints" / "last.safetensors")
    assert train_run(None, parts, resume=True, device="cpu") == "completed"
    assert Run.open(parts).info["probes_changed"] == changes


def test_a_run_whose_probe_is_gone_can_be_gone_on_with(tmp_path):
    """The code of a probe, or what it needs, is not there any more: without the probe the run goes on."""
    allow("failing:Late")
    folder = tmp_path / "run"
    interrupted_at(1, folder, tiny_config("hard", probes=probes_of("failing:Late", "calibration")))
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace("failing:Late", "failing_no_more:Late"))
    with pytest.raises(ConfigError, match="failing_no_more"):
        train_run(None, folder, resume=True, device="cpu")
    assert (
        train_run(tiny_config("hard", probes=probes_of("calibration")), folder, resume=True, device="cpu")
        == "completed"
    )
    assert Run.open(folder).info["probes_changed"][0]["before"]["metrics"][0] == "failing_no_more:Late"


def test_sizes_that_a_budget_chose_for_other_probes_are_not_taken(tmp_path):
    folder = tmp_path / "run"
    interrupted_at(1, folder, tiny_config("hard", probes=probes_of("calibration")))
    info = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(
        json.dumps({**info, "probe_sizes": {"calibration": 3}, "probe_budget": {"every": 1}})
    )
    train_run(tiny_config("hard", probes=probes_of("confidence")), folder, resume=True, device="cpu")
    assert not {"probe_sizes", "probe_budget"} & set(Run.open(folder).info)


def test_an_interrupt_leaves_a_run_that_goes_on_exactly(finished, tmp_path):
    folder, bus = tmp_path / "run", EventBus()
    ended = []

    def interrupt(event):
        if event.clock.step == 7:
            raise KeyboardInterrupt

    bus.on(StepEnded, interrupt)
    bus.on(RunEnded, ended.append)
    assert train_run(tiny_config(), folder, device="cpu", bus=bus) == "interrupted"
    assert Run.open(folder).info["status"] == "interrupted"
    assert [event.status for event in ended] == ["interrupted"]
    assert train_run(None, folder, resume=True, device="cpu") == "completed"
    assert rows(folder) == rows(finished)
    same_checkpoint(finished / "checkpoints/last.safetensors", folder / "checkpoints/last.safetensors")


def test_whatever_ends_a_run_before_its_first_step_is_said_and_it_resumes(finished, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    ways_to_end = [OSError("disk full"), KeyboardInterrupt()]

    def fail(*_):
        raise ways_to_end.pop()

    with monkeypatch.context() as patch:
        patch.setattr("overfit_lab.training.keeper.CheckpointKeeper.save_initial", fail)
        assert train_run(tiny_config(), folder, device="cpu") == "interrupted"
        assert Run.open(folder).info["status"] == "interrupted"
        with pytest.raises(OSError, match="disk full"):
            train_run(None, folder, resume=True, device="cpu")
        assert Run.open(folder).info["status"] == "failed"
    assert train_run(None, folder, resume=True, device="cpu") == "completed"
    assert rows(folder) == rows(finished)


def test_a_run_that_was_killed_can_be_probed_at_all_its_checkpoints(finished, tmp_path):
    """run.json of a killed run says nothing of its last epoch; the checkpoint does."""
    folder = tmp_path / "killed"
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns(".lock"))
    info = json.loads((folder / "run.json").read_text())
    del info["epoch"], info["best"]
    (folder / "run.json").write_text(json.dumps({**info, "status": "running"}))
    (folder / "checkpoints" / "epoch-0004.safetensors").unlink()
    everything = probe_run(folder, ["calibration"], checkpoint="all", save=False)
    assert {r.epoch for r in everything} == {0, 1, 2, 3, 4}
    assert {r.epoch for r in probe_run(folder, ["calibration"], checkpoint="4", save=False)} == {4}
    with pytest.raises(RunFolderError, match="no checkpoint '7'"):
        probe_run(folder, ["calibration"], checkpoint="7", save=False)


def test_a_handler_that_fails_marks_the_run_as_failed_and_it_resumes(finished, tmp_path):
    bus = EventBus()

    def fail(event):
        if event.snapshot.clock.epoch == 2:
            raise RuntimeError("handler")

    bus.on(EpochEnded, fail)
    with pytest.raises(RuntimeError, match="handler"):
        train_run(tiny_config(), tmp_path / "run", device="cpu", bus=bus)
    assert Run.open(tmp_path / "run").info["status"] == "failed"
    assert train_run(None, tmp_path / "run", resume=True, device="cpu") == "completed"
    assert rows(tmp_path / "run") == rows(finished)


SCRIPT = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from overfit_lab.config import load_config
from overfit_lab.training.run import train_run
folder = Path(sys.argv[1])
resume = sys.argv[3] == "resume"
print("started", flush=True)
train_run(None if resume else load_config(Path(sys.argv[2])), folder, resume=resume, device="cpu")
"""


def start(folder, config_path, how):
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(folder), str(config_path), how]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_kill_at_random_moments_then_resume_equals_the_uninterrupted_run(tmp_path, seed):
    config = tiny_config(epochs=12, schedule={"name": "piecewise", "milestones": [6, 9]})
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config))
    whole = start(tmp_path / "whole", path, "new")
    assert whole.stdout.readline() == "started\n"
    begun = time.monotonic()
    whole.communicate(timeout=300)
    length = time.monotonic() - begun
    assert whole.returncode == 0
    moments = random.Random(seed)
    folder, kills = tmp_path / "killed", 0
    for _ in range(4):
        process = start(folder, path, "resume" if folder.exists() else "new")
        assert process.stdout.readline() == "started\n"
        deadline = time.monotonic() + moments.uniform(0.02, 0.6) * length
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
    last = start(folder, path, "resume" if folder.exists() else "new")
    last.communicate(timeout=300)
    assert last.returncode == 0
    assert kills >= 2, "the run was hardly ever killed, so nothing was tested"
    assert Run.open(folder).info["status"] == "completed"
    assert rows(folder) == rows(tmp_path / "whole")
    same_checkpoint(folder / "checkpoints/last.safetensors", tmp_path / "whole/checkpoints/last.safetensors")
    same_checkpoint(folder / "checkpoints/best.safetensors", tmp_path / "whole/checkpoints/best.safetensors")


def test_events_come_in_order(tmp_path):
    bus, seen = EventBus(), []
    for kind in (RunStarted, GradientsReady, StepEnded, EpochEnded, RunEnded):
        bus.on(kind, lambda event: seen.append(type(event).__name__))
    train_run(tiny_config(epochs=1, probes={"metrics": []}), tmp_path / "run", device="cpu", bus=bus)
    assert seen == ["RunStarted", *["GradientsReady", "StepEnded"] * 3, "EpochEnded", "RunEnded"]


def test_the_bus_refuses_what_is_no_event_and_what_is_no_handler():
    with pytest.raises(TypeError, match="no event"):
        EventBus().on(int, print)
    with pytest.raises(TypeError, match="one argument"):
        EventBus().on(EpochEnded, lambda: None)
