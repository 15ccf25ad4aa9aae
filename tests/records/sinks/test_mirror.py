"""Every sink gets every record once, in order, also after a resume; none stops a run or changes it."""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from kept_sinks import Broken, Kept, Meddling
from safetensors.torch import load_file
from torch import nn

from overfit_lab.cli.grid import grid_spec
from overfit_lab.cli.main import run as command
from overfit_lab.errors import ConfigError, UnknownNameError
from overfit_lab.monitor.monitor import Monitor
from overfit_lab.records import layout
from overfit_lab.records.reader import Run, read_records
from overfit_lab.records.records import Record
from overfit_lab.records.sinks.base import flat, scalar_name, scalars
from overfit_lab.records.sinks.mirror import Mirror, make_sinks, run_id
from overfit_lab.sweeps.run import run_sweep
from overfit_lab.sweeps.work import log_path
from overfit_lab.training.events import EpochEnded, EventBus
from overfit_lab.training.run import train_run
from tiny import tiny_config

SECONDS = ("seconds_training", "seconds_evaluation", "seconds_probing")


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def config(**changes):
    probes = {"every": 2, "metrics": ["gradient-norm"], "n": 16}
    return tiny_config("sglr", **{"probes": probes, "evaluation": {"n_steps": 1, "chunk": 24}, **changes})


def on_disk(folder):
    return read_records(layout.records_path(folder))


def numbers(records):
    """What a run measured, without how long it took."""
    return [
        (r.epoch, r.step, r.probe, r.field, r.split, r.inputs, r.labels, r.value, r.stderr, r.n)
        for r in records
        if r.field not in SECONDS
    ]


def stop_after(epoch):
    """A bus whose run is interrupted at the end of an epoch, before that epoch's checkpoint."""

    def stop(event):
        if event.snapshot.clock.epoch == epoch:
            raise KeyboardInterrupt

    bus = EventBus()
    bus.on(EpochEnded, stop)
    return bus


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain") / "run"
    train_run(config(), folder, device="cpu")
    return folder


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mirrored") / "run"
    notes, chosen = [], [Kept(), Broken(), Meddling()]
    train_run(config(), folder, device="cpu", sinks=chosen, on_note=notes.append)
    return folder, chosen, notes


def test_a_sink_gets_every_record_once_and_in_order(mirrored):
    folder, (kept, *_), _ = mirrored
    assert kept.flat == on_disk(folder)
    assert [sorted({r.epoch for r in group}) for group in kept.given] == [[1], [2], [3], [4]]
    assert {"training", "evaluation", "gradient-norm"} <= {r.probe for r in kept.flat}
    assert kept.ended == ["completed"]


def test_a_sink_is_told_of_the_run(mirrored):
    folder, (kept, *_), _ = mirrored
    (run,) = kept.begun
    assert (run.name, run.folder, run.after) == ("run", folder, 0)
    assert run.config["labels"]["name"] == "sglr"  # though another sink cleared its own copy
    assert len(run.id) == 16


def test_records_and_weights_are_those_of_a_run_without_sinks(plain, mirrored):
    folder, _, _ = mirrored
    assert numbers(on_disk(folder)) == numbers(on_disk(plain))
    for name in ("initial", "best", "last"):
        ours, theirs = (load_file(layout.checkpoint_path(f, name)) for f in (folder, plain))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert layout.config_path(folder).read_bytes() == layout.config_path(plain).read_bytes()
    assert Run.open(folder).info.keys() == Run.open(plain).info.keys()
    assert not layout.sinks_path(plain).exists()


def test_a_sink_that_fails_is_told_once_and_left_alone(mirrored):
    folder, (_, broken, _), notes = mirrored
    assert len(broken.given) == 1
    assert broken.asked == 1
    assert broken.ended == []
    (note,) = notes
    assert "Broken failed and gets no more records, the run goes on: No space left on device" in note
    position = json.loads(layout.sinks_path(folder).read_text())
    assert sorted(position.values()) == [1, 4, 4]


@pytest.mark.parametrize("where", ["begin", "end"])
@pytest.mark.parametrize("error", [RuntimeError(""), SystemExit(1)])
def test_no_other_failure_stops_a_run(where, error, tmp_path):
    notes, broken = [], Broken(where, error)
    changes = {"epochs": 1, "schedule": {"name": "constant"}, "probes": {}}
    status = train_run(config(**changes), tmp_path / "run", device="cpu", sinks=[broken, Kept()], on_note=notes.append)
    assert status == "completed"
    assert len(notes) == 1
    assert type(error).__name__ in notes[0] or str(error) in notes[0]


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_resumed_run_gives_each_epoch_once(epoch, plain, tmp_path):
    folder, first, second = tmp_path / "run", Kept(), Kept()
    assert train_run(config(), folder, device="cpu", bus=stop_after(epoch), sinks=[first]) == "interrupted"
    assert first.ended == ["interrupted"]
    assert sorted({r.epoch for r in first.flat}) == list(range(1, epoch))
    train_run(None, folder, resume=True, device="cpu", sinks=[second])
    assert first.flat + second.flat == on_disk(folder)
    assert numbers(first.flat + second.flat) == numbers(on_disk(plain))
    assert second.begun[0].after == epoch - 1
    assert second.begun[0].id == first.begun[0].id


def test_a_sink_that_comes_late_or_failed_before_is_given_the_past(tmp_path):
    folder, early, late, broken, mended = tmp_path / "run", Kept(), Kept(), Broken(), Kept()
    notes = []
    train_run(config(), folder, device="cpu", bus=stop_after(3), sinks=[broken], on_note=notes.append)
    assert len(broken.flat) > 0
    path = layout.sinks_path(folder)
    path.write_text(path.read_text().replace("Broken", "Kept"))  # the same sink, which works now
    train_run(None, folder, resume=True, device="cpu", sinks=[mended])
    assert mended.begun[0].after == 1
    assert broken.flat + mended.flat == on_disk(folder)
    path.unlink()
    train_run(None, folder, resume=True, device="cpu", sinks=[late])
    assert late.begun[0].after == 0
    assert late.flat == on_disk(folder)
    train_run(None, folder, resume=True, device="cpu", sinks=[early])
    assert early.flat == []
    assert early.ended == ["completed"]


def test_an_epoch_that_was_given_and_not_noted_is_void(tmp_path):
    """A kill between a sink's last record and sinks.json."""
    folder, again = tmp_path / "run", Kept()
    train_run(config(), folder, device="cpu", sinks=[Kept()])
    (name,) = json.loads(layout.sinks_path(folder).read_text())
    layout.sinks_path(folder).write_text(json.dumps({name: 3}))
    train_run(None, folder, resume=True, device="cpu", sinks=[again])
    assert again.begun[0].after == 3
    assert again.flat == [r for r in on_disk(folder) if r.epoch == 4]


@pytest.mark.parametrize("content", ["", "[]", '{"x": "y"}', "null"])
def test_a_damaged_position_gives_everything_again(content, tmp_path):
    from overfit_lab.records.sinks.base import Beginning

    layout.sinks_path(tmp_path).write_text(content)
    mirror = Mirror({"kept": Kept()}, Beginning("run", "0", tmp_path, {}, 0))
    assert mirror.position == {}


def test_where_a_position_cannot_be_written_the_sinks_go_on(tmp_path):
    from overfit_lab.records.sinks.base import Beginning

    kept, notes = Kept(), []
    mirror = Mirror({"kept": kept}, Beginning("run", "0", tmp_path / "gone", {}, 0), notes.append)
    mirror.begin([], 0)
    mirror.epoch_ended(1)
    mirror.end("completed")
    assert len(notes) == 1
    assert kept.ended == ["completed"]


def test_unknown_and_wrong_sinks_are_refused_before_anything_is_written(tmp_path, capfd):
    with pytest.raises(UnknownNameError, match="did you mean tensorboard"):
        train_run(config(), tmp_path / "run", sinks=["tensorbord"])
    with pytest.raises(ConfigError, match="expected a class derived from"):
        make_sinks(["kept_sinks:NoSink"])
    with pytest.raises(ConfigError, match="given twice"):
        make_sinks(["kept_sinks:Kept", Kept()])
    assert command(["train", "digits-hard", "--out", str(tmp_path / "run"), "--log", "tensorbord"]) == 2
    assert "unknown sink 'tensorbord'" in capfd.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_sweep_hands_sinks_to_its_cells(tmp_path):
    small = config(epochs=2, probes={})
    spec = grid_spec(small, [], 1, device="cpu", sinks=["kept_sinks:Broken"])
    result = run_sweep(spec, tmp_path / "out", trust=True)
    (cell,) = result.completed
    assert json.loads(layout.sinks_path(cell).read_text()) == {"kept_sinks:Broken": 1}
    assert "sink kept_sinks:Broken failed" in log_path(cell).read_text()
    with pytest.raises(UnknownNameError):
        run_sweep(grid_spec(small, [], 1, device="cpu", sinks=["tensorbord"]), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def monitored(epochs, kept, folder=None, state=None, **options):
    """A loop of some epochs; its records and its state."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    rng = np.random.default_rng(0)
    data = rng.random((24, 1, 4, 4), np.float32), np.arange(24) % 3
    monitor = Monitor(model, data, data, probes=["calibration"], folder=folder, sinks=[kept], **options)
    if state is not None:
        monitor.load_state_dict(state)
    for _ in range(epochs):
        monitor.epoch_ended(lr=0.1)
    state, records = monitor.state_dict(), monitor.records
    monitor.close()
    return records, state


@pytest.mark.parametrize("in_folder", [False, True])
def test_a_monitor_mirrors_its_records(in_folder, tmp_path):
    folder = tmp_path / "run" if in_folder else None
    first, second = Kept(), Kept()
    records, state = monitored(2, first, folder)
    assert [vars(r) for r in first.flat] == records.to_dict("records") or len(first.flat) == len(records)
    assert [(r.epoch, r.probe, r.field) for r in first.flat] == list(
        records[["epoch", "probe", "field"]].itertuples(index=False, name=None)
    )
    assert first.ended == ["completed"]
    records, _ = monitored(2, second, folder, state, resume=in_folder)
    assert sorted({r.epoch for r in second.flat}) == [3, 4]
    assert len(first.flat) + len(second.flat) == len(records)
    assert second.begun[0].id == first.begun[0].id
    assert second.begun[0].after == 2


def test_a_monitor_survives_its_sinks(capfd):
    broken = Broken()
    records, _ = monitored(3, broken)
    assert sorted(records["epoch"].unique()) == [1, 2, 3]
    assert capfd.readouterr().err.count("Broken failed") == 1


@pytest.mark.parametrize(
    "name", ["digits-hard-seed0", "digits-sglr-seed0", "cifar10-small-hard-seed0", "digits-swa-seed0"]
)
def test_names_of_scalars_are_unique_within_an_epoch(name):
    found = defaultdict(list)
    for record in on_disk(Path(__file__).parents[3] / "runs" / "reference" / name):
        found[record.epoch].append(record)
    for records in found.values():
        assert len(scalars(records)) == sum(r.value is not None for r in records)


def test_numbers_that_differ_in_their_labels_have_names_of_their_own():
    def record(labels, value):
        return Record(1, 10, "mine", "acc", "train", "clean", labels, value, None, 9, None)

    both = [record("given", None), record("true", 0.5), record("true", 0.6)]
    assert scalar_name(both[0]) == scalar_name(both[1]) == "train/clean/mine/acc"
    assert scalars(both) == {"train/clean/mine/acc@true": 0.6}


def test_a_configuration_is_flattened():
    content = {"a": {"b": 1, "c": {"d": None}}, "e": (1, 2), "f": {}, "g": True}
    assert flat(content) == {"a.b": 1, "a.c.d": "None", "e": "(1, 2)", "f": "{}", "g": True}


def test_ids_tell_runs_apart():
    assert run_id("run", "10:00", 0) == run_id("run", "10:00", 0)
    assert len({run_id("run", "10:00", 0), run_id("run", "10:01", 0), run_id("runs", "10:00", 0)}) == 3
