"""A probe that fails ends nobody's training; one that cannot be measured is refused before anything is written."""

import json
import time

import pytest
import torch

from failing import Never
from overfit_lab.cli.main import run
from overfit_lab.config.catalog import PROBES
from overfit_lab.config.permission import allow
from overfit_lab.errors import ProbeError
from overfit_lab.probes import snapshot as snapshots
from overfit_lab.probes.pilot import measure_costs
from overfit_lab.records.reader import Run
from overfit_lab.training.build import build
from overfit_lab.training.events import EventBus, RunEnded
from overfit_lab.training.loop import train
from overfit_lab.training.run import train_run
from tiny import tiny_config


def config_of(*metrics, **changes):
    for name in metrics:
        if ":" in name:
            allow(name)
    return tiny_config("hard", **{"probes": {"every": 1, "metrics": list(metrics), "n": 40}, "epochs": 3, **changes})


def numbers(folder):
    frame = Run.open(folder).records
    frame = frame[~frame["field"].str.startswith("seconds")]
    return frame[["epoch", "step", "probe", "field", "split", "inputs", "value", "n"]].astype(str).values.tolist()


def test_a_run_goes_on_without_a_probe_that_fails(tmp_path, capsys):
    assert train_run(config_of("failing:Late", "calibration"), tmp_path / "run", device="cpu") == "completed"
    run = Run.open(tmp_path / "run")
    late = run.records[run.records["probe"] == "late"]
    assert late[["epoch", "field", "value"]].values.tolist() == [
        [1, "epoch", 1.0],
        [2, "failed", 1.0],
        [3, "failed", 1.0],
    ]
    assert run.info["status"] == "completed"
    assert run.info["failed_probes"] == {"late": {"epoch": 2, "reason": "no more than one epoch"}}
    said = [line for line in capsys.readouterr().err.splitlines() if "late" in line]
    assert said == ["overfit-lab: late failed at epoch 2, training goes on: no more than one epoch"]
    assert train_run(config_of("calibration"), tmp_path / "without", device="cpu") == "completed"
    assert [row for row in numbers(tmp_path / "run") if row[2] != "late"] == numbers(tmp_path / "without")


def test_a_run_that_is_killed_and_resumed_notes_failures_as_one_that_is_not(tmp_path):
    class Stop(EventBus):
        def emit(self, event):
            super().emit(event)
            if getattr(event, "clock", None) is not None and event.clock.epoch == 2 and not isinstance(event, RunEnded):
                raise KeyboardInterrupt

    config = config_of("failing:Late")
    assert train_run(config, tmp_path / "whole", device="cpu") == "completed"
    assert train_run(config, tmp_path / "parts", device="cpu", bus=Stop()) == "interrupted"
    path = tmp_path / "parts" / "run.json"
    info = json.loads(path.read_text())
    info["failed_probes"]["gone"] = {"epoch": 9, "reason": "later than the checkpoint"}
    path.write_text(json.dumps(info))
    assert train_run(None, tmp_path / "parts", resume=True, device="cpu", trust=True) == "completed"
    assert numbers(tmp_path / "parts") == numbers(tmp_path / "whole")
    notes = [Run.open(tmp_path / name).info["failed_probes"] for name in ("whole", "parts")]
    assert notes[0] == notes[1]


def test_a_probe_that_cannot_be_measured_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ProbeError, match=r"^never: cannot be measured on this model: IndexError: index 7 is out"):
        train_run(config_of("calibration", "failing:Never"), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_the_command_says_it_in_one_line_with_status_2(tmp_path, capsys):
    out = ["--out", str(tmp_path / "run"), "--device", "cpu"]
    assert run(["train", "digits-hard", "--set", "probes.metrics=[failing:Never]", *out]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert "never: cannot be measured on this model: IndexError: index 7 is out of range; leave never out" in line
    assert not (tmp_path / "run").exists()


def test_a_measurement_later_from_a_checkpoint_fails_in_one_line_too(tmp_path, capsys):
    train_run(config_of("calibration"), tmp_path / "run", device="cpu")
    assert run(["probe", str(tmp_path / "run"), "--metric", "failing:Late", "--checkpoint", "1"]) == 0
    assert run(["probe", str(tmp_path / "run"), "--metric", "failing:Late,calibration"]) == 2
    assert "late: cannot be measured on this model: no more than one epoch; measure" in capsys.readouterr().err


def test_second_weights_fail_by_their_own_name(tmp_path, capsys):
    config = config_of("failing:Late", regularizers=["ema"])
    assert train_run(config, tmp_path / "run", device="cpu") == "completed"
    assert set(Run.open(tmp_path / "run").info["failed_probes"]) == {"late", "late@ema"}


def test_a_budgets_pilot_does_not_fail_with_a_probe():
    session = build(config_of(), torch.device("cpu"))
    snapshot = session.snapshot()
    demands, _ = measure_costs([Never(), PROBES["calibration"]()], snapshot, {}, time.perf_counter)
    assert [demand.name for demand in demands] == ["never", "calibration"]
    assert demands[1].cost.seconds(64) > 0


def test_an_evaluation_that_fails_is_an_error(monkeypatch):
    session = build(config_of(), torch.device("cpu"))
    monkeypatch.setattr(snapshots.Snapshot, "_make", lambda *_: (_ for _ in ()).throw(RuntimeError("broken")))
    with pytest.raises(RuntimeError, match="broken"):
        train(session, EventBus())
