"""What is said of a run at each moment, and when the alarm is raised."""

import json
import os

import numpy as np
import pytest

from overfit_lab.probes.metrics.drop import DropTest
from overfit_lab.probes.metrics.phases import phases, steps_at
from overfit_lab.probes.metrics.unimodal import LEAST
from overfit_lab.records import layout
from overfit_lab.records.writer import is_held, take_lock
from overfit_lab.views.live import alarm as alarms
from overfit_lab.views.live.alarm import LEVEL, LOOKS, Alarm
from overfit_lab.views.live.following import Followed
from overfit_lab.views.live.runs_below import Watched
from overfit_lab.views.live.view import view_of
from written import DECAY, N, accuracies, begin, records_of, write


def view(folder, later=0.0, alarm=None):
    run = Followed(folder)
    run.look()
    return view_of(run, alarm or Alarm(), run.changed + later)


def test_a_run_that_has_not_recorded_anything(tmp_path):
    with begin(tmp_path / "run"):
        found = view(tmp_path / "run")
    assert (found.status, found.epoch, found.n_epochs) == ("running", 0, N)
    assert (found.best, found.lr, found.seconds_left, found.alert, found.curves) == (None, None, None, None, ())


def test_the_numbers_of_a_run_in_its_first_stage(tmp_path):
    with begin(tmp_path / "run") as writer:
        write(writer, 1, 12)
        found = view(tmp_path / "run", later=4.0)
    train, test = accuracies(12, True)
    assert found.accuracies["adversarial", "test"] == pytest.approx(test)
    assert found.accuracies["adversarial", "train"] == pytest.approx(train)
    assert found.accuracies["clean", "test"] == 0.8
    series = [accuracies(e, True)[1] for e in range(1, 13)]
    assert found.best.epoch == 1 + int(np.argmax(series))
    assert found.lost == pytest.approx(max(series) - series[-1])
    assert found.lr == 0.1
    assert found.stage == f"stationary, first decay after epoch {DECAY}"
    assert found.seconds_left == pytest.approx(3.0 * (N - 12) - 4.0)
    assert [curve.title for curve in found.curves] == [
        "robust test accuracy",
        "robust train accuracy",
        "gradient norm",
    ]


def test_the_stage_after_the_first_decay_is_growth(tmp_path):
    with begin(tmp_path / "planned") as writer:
        write(writer, 1, DECAY + 1)
    with begin(tmp_path / "unplanned", decays=()) as writer:
        write(writer, 1, DECAY + 1)
    for name in ("planned", "unplanned"):
        found = view(tmp_path / name)
        assert found.stage == f"growth, since the first decay after epoch {DECAY}"
        assert found.decays == (DECAY,)


@pytest.mark.parametrize("planned", ["soon", None, ["x", {}], {"a": 1}])
def test_a_strange_plan_of_decays_is_passed_over(tmp_path, planned):
    with begin(tmp_path / "run") as writer:
        write(writer, 1, 3)
        writer.update_info(decay_epochs=planned, status=["odd"])
    assert view(tmp_path / "run").decays == ()


def test_a_monitor_of_unknown_length_and_standard_training(tmp_path):
    with begin(tmp_path / "run", name="monitor", epochs=1, known=("data", "model")) as writer:
        assert view(tmp_path / "run").n_epochs is None
        clean = [r for r in records_of(1) if r.field == "acc_clean"]
        writer.append(clean)
    found = view(tmp_path / "run")
    assert (found.best.inputs, found.best.split, found.best.value) == ("clean", "test", 0.8)
    assert [curve.title for curve in found.curves] == ["clean test accuracy"]


def test_silence_is_told_and_whether_anybody_holds_the_run(tmp_path):
    with begin(tmp_path / "run") as writer:
        write(writer, 1, 3)
        assert view(tmp_path / "run", later=59).silent is None
        held = view(tmp_path / "run", later=300)
        assert (held.status, held.silent) == ("running", 300)
        slow = records_of(4, seconds=400.0)
        writer.append(slow)
        assert view(tmp_path / "run", later=300).silent is None
    found = view(tmp_path / "run", later=3600)
    assert (found.status, found.silent) == ("stopped", 3600)
    assert found.seconds_left is None
    layout.info_path(tmp_path / "run").write_text(json.dumps({"status": "completed"}))
    assert view(tmp_path / "run", later=3600).status == "completed"


def test_looking_whether_a_folder_is_held_leaves_nothing(tmp_path):
    assert not is_held(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with take_lock(tmp_path):
        assert is_held(tmp_path)
    assert not is_held(tmp_path)
    take_lock(tmp_path).close()


def curves(overfits, n=N):
    epochs = np.arange(1, n + 1)
    both = np.array([accuracies(e, overfits) for e in epochs])
    return epochs, both[:, 0], both[:, 1]


def test_the_alarm_is_raised_once_and_says_since_when():
    alarm, raised = Alarm(), []
    epochs, train, test = curves(overfits=True)
    for n in range(1, N + 1):
        new = alarm.look(epochs[:n], train[:n], test[:n], [DECAY])
        raised += [new] if new else []
    (alert,) = raised
    assert 25 < alert.epoch < 45
    assert alert.phases.overfits == 1
    assert alert.onset == alert.phases.peak.epoch
    assert alert.phases.peak.low - 1 <= DECAY + 5 <= alert.phases.peak.high + 6
    assert alert.phases.drop.value > 0.01
    assert alert.phases.drop.low > 0
    n = alert.epoch
    assert alert.phases == phases(epochs[:n], train[:n], test[:n], decays=[DECAY])
    assert alarm.phases == phases(epochs, train, test, decays=[DECAY])


def test_the_alarm_waits_for_looks_in_a_row_at_its_level():
    epochs, train, test = curves(overfits=True)
    alarm = Alarm()
    alarm.look(epochs, train, test, [DECAY])
    looks = []
    for n in range(1, alarm.alert.epoch + 1):
        found = phases(epochs[:n], train[:n], test[:n], decays=[DECAY])
        p = DropTest(test[:n], steps_at(epochs[:n], [DECAY])).p(0.0) if n >= LEAST else 1.0
        looks.append(p < LEVEL and found.overfits == 1)
    assert looks[-LOOKS:] == [True] * LOOKS
    assert "x" * LOOKS not in "".join("x" if look else "." for look in looks[:-1])


def test_how_often_one_looks_makes_no_difference():
    epochs, train, test = curves(overfits=True)
    alerts = []
    for step in (1, 3, 7, N):
        alarm = Alarm()
        for n in [*range(step, N, step), N]:
            alarm.look(epochs[:n], train[:n], test[:n], [DECAY])
        alerts.append(alarm.alert)
    assert all(alert == alerts[0] for alert in alerts)


def test_no_alarm_without_overfitting_and_the_plan_of_decays_is_no_gate():
    epochs, train, test = curves(overfits=False)
    alarm = Alarm()
    assert alarm.look(epochs, train, test, [DECAY]) is None
    assert alarm.phases.overfits != 1
    assert (alarm.phases.drop.low, alarm.phases.peak) == (0, None)
    assert alarm.phases.drop.value < 0.001
    assert alarm.phases.drop.high < 0.02
    assert alarm.phases.gap.low < 0 < alarm.phases.gap.high < 0.02
    epochs, train, test = curves(overfits=True)
    early = Alarm()
    alert = early.look(epochs, train, test, [N + 10])
    assert alert.phases.when == "before any decay"
    assert alert.epoch < N


def test_the_alarm_has_a_threshold():
    epochs, train, test = curves(overfits=True)
    alarm = Alarm(threshold=0.3)
    assert alarm.look(epochs, train, test, [DECAY]) is None
    assert alarm.phases.verdict == "none"


def test_a_collapse_raises_the_alarm_and_a_run_that_diverged_does_not():
    epochs, train, test = curves(overfits=False)
    test, train, clean = test.copy(), train.copy(), np.full(N, 0.8)
    test[40:] = 0.01
    train[40:] = 0.9
    alarm = Alarm()
    alert = alarm.look(epochs, train, test, [DECAY], clean)
    assert alert.phases.verdict == "catastrophic overfitting"
    assert alert.onset == 40
    assert 41 < alert.epoch <= 41 + 2 * LOOKS
    clean[40:] = 0.1
    gone = Alarm()
    gone.look(epochs, train, test, [DECAY], clean)
    assert gone.phases.collapse is None


def test_without_train_accuracy_the_drop_alone_raises_the_alarm():
    epochs, train, test = curves(overfits=True)
    assert Alarm().look(epochs, train * np.nan, test, [DECAY]).phases.gap is None


def test_an_alarm_stands_unless_the_run_is_cut_back_to_before_it():
    epochs, train, test = curves(overfits=True)
    alarm = Alarm()
    alert = alarm.look(epochs, train, test, [DECAY])
    n = alert.epoch
    assert alarm.look(epochs[: n + 1], train[: n + 1], test[: n + 1], [DECAY]) is None
    assert alarm.alert == alert
    alarm.look(epochs[: n - 5], train[: n - 5], test[: n - 5], [DECAY])
    assert alarm.alert is None
    assert alarm.look(epochs, train, test, [DECAY]) == alert
    alarm.look(epochs[:0], train[:0], test[:0], [DECAY])
    assert alarm.alert is None


def test_a_look_costs_one_test_when_nothing_falls(monkeypatch):
    asked = []
    monkeypatch.setattr(alarms, "phases", lambda *a, **k: asked.append(len(a[0])) or phases(*a, **k))
    epochs = np.arange(1, 61)
    rising = 0.4 + epochs / 1000
    Alarm().look(epochs, rising + 0.05, rising, [DECAY])
    assert asked == [60]


@pytest.mark.slow
def test_false_alarms_over_a_whole_run_are_rare_and_single_looks_are_not():
    """The gap grows and test accuracy stays, in 18 runs of 91 looks each."""
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
    try:
        from watch_false_alarms import NOISES, first_alert, looks
    finally:
        sys.path.pop(0)
    p = [looks(("widening", noise, 10_000 + seed)) for noise in NOISES for seed in range(6)]
    false = sum(first_alert(one, LOOKS, LEVEL) is not None for one in p)
    single = sum(first_alert(one, 1, 0.05) is not None for one in p)
    assert false <= 3  # at a rate of 5%, more than 3 of 18 come with probability 0.011
    assert single > false


def test_the_runs_of_a_sweep_in_its_order(tmp_path):
    (tmp_path / "sweep.json").write_text(json.dumps({"cells": {"b": {}, "a": {}, "c": {}}}))
    watched = Watched(tmp_path)
    assert [(v.name, v.status) for v in watched.look()] == [(n, "not begun") for n in ("b", "a", "c")]
    with begin(tmp_path / "a") as writer:
        write(writer, 1, 2)
        assert [(v.name, v.epoch) for v in watched.look()] == [("b", 0), ("a", 2), ("c", 0)]
    begin(tmp_path / "stray").close()
    (tmp_path / "b").mkdir()
    assert [v.name for v in watched.look()] == ["b", "a", "c", "stray"]
    layout.records_path(tmp_path / "a").write_text("{}\n")
    assert watched.look()[1].status == "failed"
    assert "not a record" in watched.look()[1].stage
    assert not watched.is_live
    with take_lock(tmp_path):
        assert watched.is_live


def test_nothing_is_written_by_looking(tmp_path):
    with begin(tmp_path / "run") as writer:
        write(writer, 1, 30)
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in (tmp_path / "run").rglob("*") if p.is_file()}
    os.utime(layout.records_path(tmp_path / "run"), (0, 0))
    before[layout.records_path(tmp_path / "run")] = (0, layout.records_path(tmp_path / "run").read_bytes())
    Watched(tmp_path).look()
    Watched(tmp_path / "run").look()
    assert before == {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in (tmp_path / "run").rglob("*") if p.is_file()}
