"""What probes see of a run's past: the same live, from a checkpoint, after a resume and in somebody's own loop."""

import json
import shutil

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from overfit_lab.config import apply_overrides
from overfit_lab.errors import ProbeError
from overfit_lab.methods.attacks.pgd import PGD
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.models.weights import load_weights
from overfit_lab.monitor.monitor import Monitor
from overfit_lab.records.history import FolderHistory, MemoryHistory
from overfit_lab.records.reader import Run, read_records
from overfit_lab.training.events import EventBus, StepEnded
from overfit_lab.training.probing import probe_run, probe_weights
from overfit_lab.training.run import train_run
from tiny import tiny_config

KEYS = ["epoch", "step", "probe", "field", "split", "inputs", "labels", "value", "stderr", "n"]
EPOCHS = 14


def config():
    probes = {
        "every": 2,
        "metrics": ["phases", "gradient-norm", "features"],
        "n": 12,
        "options": {"features": {"tsne": "always", "perplexity": 3}},
    }
    schedule = {"name": "piecewise", "milestones": [5, 10]}
    return tiny_config("hard", epochs=EPOCHS, probes=probes, schedule=schedule)


def rows(folder, probe):
    frame = Run.open(folder).records
    frame = frame[frame["probe"] == probe][KEYS].astype(object)
    return sorted(map(str, frame.where(frame.notna(), None).itertuples(index=False, name=None)))


def maps(folder):
    run = Run.open(folder)
    return {epoch: run.arrays("features", epoch)["tsne-test-clean"] for epoch in run.epochs_with_arrays("features")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("history") / "run"
    train_run(config(), folder, device="cpu")
    return folder


def test_phases_are_recorded_live_and_say_when_there_is_not_enough(finished):
    overfits = Run.open(finished).records.query("probe == 'phases' and field == 'overfits'")
    assert overfits["epoch"].tolist() == [2, 4, 6, 8, 10, 12, 14]
    assert not overfits["value"].eq(1).any()  # a dozen samples, whose accuracy rises or stays
    judged = Run.open(finished).records.query("probe == 'phases' and field == 'drop'")
    assert judged["epoch"].tolist() == [10, 12, 14]
    assert overfits["n"].tolist() == [2, 4, 6, 8, 10, 12, 14]
    fields = set(Run.open(finished).records.query("probe == 'phases' and epoch == 14")["field"])
    assert {"overfits", "peak_epoch", "drop", "drop_low", "drop_high", "drop_p", "gap_growth", "growth_ratio"} <= fields


@pytest.mark.parametrize("probe", ["phases", "features"])
def test_live_and_post_hoc_agree_to_the_bit(finished, tmp_path, probe):
    """Over all checkpoints in order, and of a single one too, although later records lie in the folder."""
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns(".lock"))
    expected, drawn = rows(folder, probe), maps(folder)
    for checkpoint in ("8", "2,4,6,8,10,12,14"):
        probe_run(folder, [probe], checkpoint=checkpoint, device="cpu")
        assert rows(folder, probe) == expected
        assert maps(folder).keys() == drawn.keys()
        assert all(np.array_equal(map_, drawn[epoch]) for epoch, map_ in maps(folder).items())


def test_maps_drawn_later_go_on_from_one_another_as_live_ones(finished, tmp_path):
    folder = tmp_path / "bare"
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns(".lock", "arrays"))
    probe_run(folder, ["features"], checkpoint="2,4,6,8,10,12,14", device="cpu")
    drawn = maps(finished)
    assert all(np.array_equal(map_, drawn[epoch]) for epoch, map_ in maps(folder).items())
    moved = [np.linalg.norm(drawn[e] - drawn[e - 2], axis=1).mean() for e in range(4, 15, 2)]
    assert max(moved) < drawn[2].std()


def test_maps_of_other_samples_are_not_gone_on_from(finished, tmp_path):
    folder = tmp_path / "other"
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns(".lock"))
    probe_run(folder, ["features"], checkpoint="14", n=10, device="cpu")
    fewer = Run.open(folder).arrays("features", 14)["tsne-test-clean"]
    assert len(fewer) == 10


def test_a_resumed_run_sees_its_past(finished, tmp_path):
    folder, bus = tmp_path / "run", EventBus()

    def interrupt(event):
        if event.clock.step == 3 * 9 + 1:
            raise KeyboardInterrupt

    bus.on(StepEnded, interrupt)
    assert train_run(config(), folder, device="cpu", bus=bus) == "interrupted"
    assert train_run(None, folder, resume=True, device="cpu") == "completed"
    for probe in ("phases", "features"):
        assert rows(folder, probe) == rows(finished, probe)
    drawn = maps(finished)
    assert all(np.array_equal(map_, drawn[epoch]) for epoch, map_ in maps(folder).items())


def test_a_run_that_was_probed_while_it_was_stopped_goes_on_and_keeps_those_numbers(finished, tmp_path):
    folder, bus = tmp_path / "run", EventBus()

    def interrupt(event):
        if event.clock.step == 3 * 9 + 1:
            raise KeyboardInterrupt

    bus.on(StepEnded, interrupt)
    assert train_run(config(), folder, device="cpu", bus=bus) == "interrupted"
    later = probe_run(folder, ["calibration", "phases"], checkpoint="final", device="cpu")
    assert train_run(None, folder, resume=True, device="cpu") == "completed"
    for probe in ("training", "evaluation", "phases", "gradient-norm"):
        of = [read_records(place / "records.jsonl") for place in (folder, finished)]
        one, two = ([r for r in part if (r.probe, r.origin) == (probe, "training")] for part in of)
        assert [(r.epoch, r.field, r.value) for r in one if not r.field.startswith("seconds")] == [
            (r.epoch, r.field, r.value) for r in two if not r.field.startswith("seconds")
        ]
    kept = [record for record in read_records(folder / "records.jsonl") if record.origin == "posthoc"]
    assert [(r.probe, r.field, r.value) for r in kept] == [(r.probe, r.field, r.value) for r in later]


def test_a_weights_file_has_no_past(finished):
    weights = finished / "checkpoints" / "last.safetensors"
    assert load_weights(weights)
    with pytest.raises(ProbeError, match=r"phases: needs the records of a run; give a run folder"):
        probe_weights(weights, ["phases"], config=config(), device="cpu")


def test_the_future_is_not_shown(finished):
    every = Run.open(finished).series("evaluation", "acc_adv", "test", "adversarial")
    history = FolderHistory(finished, 6)
    epochs, values, errors = history.series("evaluation", "acc_adv", "test", "adversarial")
    assert epochs.tolist() == [1, 2, 3, 4, 5, 6]
    assert values.tolist() == every["value"].tolist()[:6]
    assert errors.tolist() == every["stderr"].tolist()[:6]
    assert history.series("training", "lr")[0].tolist() == [1, 2, 3, 4, 5, 6]
    assert history.series("gradient-norm", "full", "train", "adversarial")[0].tolist() == [2, 4]
    assert history.arrays("features", "tsne-test-clean")[0] == 4
    assert history.arrays("features", "no-such") is None
    assert FolderHistory(finished, 2).arrays("features", "tsne-test-clean") is None
    assert len(history.series("evaluation", "acc_adv", "test", "clean")[0]) == 0


def test_memory_and_folder_tell_the_same(finished):
    """But for what was measured from checkpoints, which says so."""
    records = read_records(finished / "records.jsonl")
    memory, folder = MemoryHistory(9, records, {}), FolderHistory(finished, 9)
    keys = {(r.probe, r.field, r.split, r.inputs) for r in records}
    assert len(keys) > 20
    for key in keys:
        for a, b in zip(memory.series(*key), folder.series(*key), strict=True):
            assert np.array_equal(a, b, equal_nan=True), key


def test_of_several_sample_sizes_the_largest_counts_and_empty_values_are_passed_over(tmp_path):
    line = {
        "step": 1,
        "probe": "a",
        "field": "f",
        "split": "",
        "inputs": "",
        "labels": "",
        "stderr": None,
        "seconds": None,
    }
    content = [(1, 0.5, 10), (1, 0.6, 20), (1, 0.7, 10), (2, None, 10), (3, 0.9, 10), (3, 1.0, 10)]
    rows = [json.dumps({"epoch": e, **line, "value": v, "n": n}) for e, v, n in content]
    (tmp_path / "records.jsonl").write_text("\n".join(rows) + "\n")
    epochs, values, errors = FolderHistory(tmp_path, 9).series("a", "f")
    assert epochs.tolist() == [1, 3]
    assert values.tolist() == [0.6, 1.0]
    assert np.isnan(errors).all()
    assert len(FolderHistory(tmp_path / "none", 9).series("a", "f")[0]) == 0


def test_only_lines_that_matter_are_parsed(finished, monkeypatch):
    from overfit_lab.records.records import Record

    parsed = []
    plain = Record.from_json.__func__

    def counted(cls, line):
        parsed.append(line)
        return plain(cls, line)

    monkeypatch.setattr(Record, "from_json", classmethod(counted))
    FolderHistory(finished, 14).series("training", "lr")
    assert len(parsed) == EPOCHS


def own_loop(folder):
    """Somebody's loop over digits with the monitor; a model that never changes, so accuracies are level."""
    images, y = load_digits(return_X_y=True)
    x = torch.tensor(images / 16 * 255).round().to(torch.uint8).view(-1, 1, 8, 8)
    y = torch.tensor(y)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    monitor = Monitor(
        model,
        (x[:100], y[:100]),
        (x[100:160], y[100:160]),
        probes=["phases", "features"],
        attack=PGD(ThreatModel(eps=0.1), step_size=0.05, n_steps=1),
        penultimate="3",
        folder=folder,
        options={"features": {"tsne": "always", "perplexity": 3}},
    )
    stream = torch.Generator().manual_seed(0)
    for _ in range(11):
        with torch.no_grad():
            model[1].weight += 0.01 * torch.randn(16, 64, generator=stream)
        monitor.epoch_ended(lr=0.1)
    monitor.close()
    return monitor


def test_a_monitor_has_a_past_with_a_folder_and_without(tmp_path):
    alone, kept = own_loop(None), own_loop(tmp_path / "run")
    found = [m.records[m.records["probe"] == "phases"][["epoch", "field", "value"]] for m in (alone, kept)]
    assert found[0].reset_index(drop=True).equals(found[1].reset_index(drop=True))
    assert found[0].query("field == 'overfits'")["value"].isna()[:9].all()
    assert found[0].query("field == 'drop'")["epoch"].tolist() == list(range(10, found[0]["epoch"].max() + 1))
    drawn = maps(tmp_path / "run")
    moved = [np.linalg.norm(drawn[e] - drawn[e - 1], axis=1).mean() for e in range(2, 12)]
    assert max(moved) < 0.5 * drawn[1].std()


def test_the_run_of_second_weights_is_judged_by_their_own_accuracies(tmp_path):
    changes = ["regularizers=[{name: ema}]", "probes.metrics=[phases]", "probes.every=14"]
    train_run(apply_overrides(config(), changes), tmp_path / "run", device="cpu")
    records = Run.open(tmp_path / "run").records
    assert {"phases", "phases@ema"} <= set(records["probe"])
    for suffix in ("", "@ema"):
        n = records[(records["probe"] == f"phases{suffix}") & (records["field"] == "overfits")]["n"].iloc[0]
        mine = records[(records["probe"] == f"evaluation{suffix}") & (records["field"] == "acc_adv")]
        assert n == (mine["split"] == "test").sum() > 0
