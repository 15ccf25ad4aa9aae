"""Probing within a budget, on a clock that only probes and steps move."""

import json
import time
from dataclasses import replace

import clocked
import pytest
import torch
from clocked import Cheap, Clock, Dear, Slow, tick

from factories import make_snapshot
from overfit_lab.cli.main import run as command
from overfit_lab.config import from_yaml, parse_config, to_yaml
from overfit_lab.errors import ConfigError
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.probes.pilot import BudgetTooSmallError, choose_sizes, measure_costs
from overfit_lab.records.reader import Run
from overfit_lab.training.budget import parse_budget, training_seconds
from overfit_lab.training.events import EventBus, StepEnded
from overfit_lab.training.probing import probe_run
from overfit_lab.training.run import train_run
from tiny import tiny_config

CHEAP, DEAR = "clocked:Cheap", "clocked:Dear"


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(Clock, "now", 0.0)
    monkeypatch.setattr(time, "perf_counter", clocked.read)


def stepping(seconds=1.0):
    bus = EventBus()
    bus.on(StepEnded, lambda event: tick(seconds))
    return bus


def config(**changes):
    probes = {"every": 2, "metrics": [CHEAP, DEAR], **changes.pop("probes", {})}
    content = {"n_train": 300, "n_test": 100}
    return tiny_config("hard", data={"name": "digits", **content}, probes=probes, **changes)


def trained(folder, resume=False, bus=None, **changes):
    return train_run(
        None if resume else config(**changes), folder, resume=resume, device="cpu", bus=bus or stepping(), trust=True
    )


def test_the_pilot_finds_the_costs_and_leaves_no_trace(clock):
    snapshot = replace(make_snapshot(), attack=Slow(ThreatModel(eps=0.1)))
    before = {name: value.clone() for name, value in snapshot.model.state_dict().items()}
    streams = torch.get_rng_state()
    demands, inputs = measure_costs([Cheap(), Dear()], snapshot, {"dear": 50}, clocked.read)
    assert torch.equal(torch.get_rng_state(), streams)
    assert not snapshot._made_inputs
    assert snapshot.chunk == 16
    assert all(torch.equal(before[name], value) for name, value in snapshot.model.state_dict().items())
    found = {demand.name: demand for demand in demands}
    assert found["dear"].cost.per_sample == pytest.approx(2 * 0.01)
    assert found["dear"].cost.fixed == pytest.approx(0.5)
    assert (found["dear"].cap, found["cheap"].cap) == (50, 40)
    assert set(found["dear"].inputs) == {"train/clean", "train/adversarial"}
    assert inputs["train/adversarial"].cost.per_sample == pytest.approx(0.02)
    assert inputs["train/clean"].cost.per_sample == 0


def test_a_choice_spends_no_more_than_it_may(clock):
    snapshot = replace(make_snapshot(), attack=Slow(ThreatModel(eps=0.1)))
    with pytest.raises(BudgetTooSmallError) as raised:
        choose_sizes([Dear()], snapshot, 1.0, n_measurements=2)
    choice = choose_sizes([Dear()], snapshot, raised.value.least + 1e-6, n_measurements=2)
    assert choice.sizes == {"dear": 60}
    assert choice.pilot_seconds + 2 * choice.expected <= raised.value.least + 1e-6


def test_budgets_are_read():
    assert parse_budget("5%").seconds(200) == 10
    assert parse_budget("2m").seconds(None) == 120
    with pytest.raises(ConfigError, match="give seconds, such as 30s"):
        parse_budget("5%").seconds(None)
    for wrong in ("30s", "0%", 5):
        with pytest.raises(ConfigError, match=r"probes\.budget"):
            parse_config({"probes": {"budget": wrong}})
    assert from_yaml(to_yaml(parse_config({"probes": {"budget": "5%"}}))).probes.budget == "5%"


def test_probing_afterwards_keeps_within_a_share_of_training(clock, tmp_path):
    folder = tmp_path / "run"
    trained(folder, probes={"metrics": []})
    assert training_seconds(folder) == 40
    told = []
    options = {"checkpoint": "2,4", "splits": ["train"], "inputs": ["clean"], "device": "cpu", "trust": True}
    records = probe_run(folder, [CHEAP, DEAR], budget="20%", on_budget=told.append, **options)
    (content,) = told
    assert content == json.loads((folder / "budget.json").read_text())[0]
    assert content["budget_seconds"] == 8
    assert content["seconds"] <= 8
    n = content["n"]["dear"]
    assert content["n"] == {"cheap": n, "dear": n}
    assert {record.n for record in records} == {n}
    pilot = 2 * (0.6 + 16 * 0.011) + 0.6 + 64 * 0.011
    assert content["pilot_seconds"] == pytest.approx(pilot)
    assert n == int(((8 - pilot) / 2 - 0.6) / 0.011)
    assert content["share"] == pytest.approx(content["seconds"] / 40)
    again = probe_run(folder, [CHEAP, DEAR], n=n, save=False, **options)
    assert [record.value for record in again] == [record.value for record in records]
    capped = probe_run(folder, [CHEAP, DEAR], budget="20%", options={DEAR: {"n": 70}}, save=False, **options)
    assert {record.n for record in capped if record.probe == "dear"} == {70}
    assert {record.n for record in capped if record.probe == "cheap"} == {300}
    assert len(json.loads((folder / "budget.json").read_text())) == 1


def test_a_budget_that_does_not_fit_is_one_line_with_one_that_would(clock, tmp_path, capsys):
    folder = tmp_path / "run"
    trained(folder, probes={"metrics": []})
    given = ["probe", str(folder), "--metric", DEAR, "--split", "train", "--inputs", "clean", "--trust", "--no-save"]
    capsys.readouterr()
    assert command([*given, "--budget", "1%"]) == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1
    assert "64 samples need" in error
    least = error.rsplit("about ", 1)[1].split(" ")[0]
    assert least.endswith("%")
    assert command([*given, "--budget", least]) == 0
    assert "n = dear" in capsys.readouterr().err
    assert command([*given, "--budget", "5"]) == 2
    assert command([*given, "--budget", "30s"]) == 0


def test_a_live_budget_chooses_once_and_says_what(clock, tmp_path):
    folder = tmp_path / "run"
    assert trained(folder, probes={"budget": "20%", "splits": ["train"], "inputs": ["clean"]}) == "completed"
    run = Run.open(folder)
    n = run.info["probe_sizes"][DEAR]
    pilot = 2 * (0.6 + 16 * 0.011) + 0.6 + 64 * 0.011
    assert n == int(((8 - pilot) / 2 - 0.6) / 0.011) < 300
    rows = run.records[run.records["probe"] == "dear"]
    assert rows["n"].tolist() == [n, n]
    probing = run.series("training", "seconds_probing")["value"].sum()
    assert probing <= 8
    assert probing == pytest.approx(pilot + 2 * (0.6 + 0.011 * n))
    notes = run.info["probe_budget"]
    assert (notes["budget"], notes["epoch"], notes["training_seconds_per_epoch"]) == ("20%", 2, 10)
    fixed = tmp_path / "fixed"
    options = {CHEAP: {"n": n}, DEAR: {"n": n}}
    trained(fixed, probes={"options": options, "splits": ["train"], "inputs": ["clean"]})
    other = Run.open(fixed).records
    assert other[other["probe"] == "dear"]["value"].tolist() == rows["value"].tolist()
    later = probe_run(folder, [DEAR], checkpoint="4", device="cpu", trust=True, save=False)
    assert [(record.n, record.value) for record in later] == [(n, rows["value"].iloc[-1])]


def stop(event):
    if event.clock.step == 25:
        raise KeyboardInterrupt


def test_a_resumed_run_takes_the_sizes_that_were_written(clock, tmp_path):
    settings = {"budget": "20%", "splits": ["train"], "inputs": ["clean"]}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    trained(whole, probes=settings)
    bus = stepping()
    bus.on(StepEnded, stop)
    assert trained(parts, probes=settings, bus=bus) == "interrupted"
    trained(parts, resume=True, bus=stepping(100.0))
    a, b = (Run.open(folder).records for folder in (whole, parts))
    keys = ["epoch", "probe", "field", "split", "n", "value"]
    chosen = [frame[~frame["field"].str.startswith("seconds")][keys].values.tolist() for frame in (a, b)]
    assert str(chosen[0]) == str(chosen[1])
    assert Run.open(whole).info["probe_sizes"] == Run.open(parts).info["probe_sizes"]


def test_a_live_budget_that_does_not_fit_ends_the_run_in_one_line(clock, tmp_path):
    with pytest.raises(ConfigError, match=r"probes.budget 1%: 64 samples need .* would do"):
        trained(tmp_path / "run", probes={"budget": "1%"})


def test_a_live_budget_that_does_not_fit_as_often_as_asked_thins_the_probes_out(clock, tmp_path):
    """Twelve epochs of ten seconds; 64 samples take 1.3 seconds. 6% (7.2 s) pay the pilot and four of twelve times."""
    folder = tmp_path / "run"
    settings = {"budget": "6%", "every": 1, "splits": ["train"], "inputs": ["clean"]}
    assert trained(folder, epochs=12, probes=settings) == "completed"
    run = Run.open(folder)
    rows = run.records[run.records["probe"] == "dear"]
    floor, pilot = 0.6 + 64 * 0.011, 2 * (0.6 + 16 * 0.011) + 0.6 + 64 * 0.011
    most = int((7.2 - pilot) // floor)
    assert 2 <= most < 12
    every = run.info["probe_budget"]["every"]
    assert rows["epoch"].tolist() == sorted({1, *range(every, 13, every), 12})
    assert len(rows) <= most
    assert len({1, *range(every - 1, 13, every - 1), 12}) > most
    assert (rows["n"] >= 64).all()
    assert run.series("training", "seconds_probing")["value"].sum() <= 7.2


def test_every_record_of_a_probe_says_its_seconds(tmp_path):
    folder = tmp_path / "run"
    train_run(tiny_config("hard", epochs=2), folder, device="cpu")
    live = Run.open(folder).records
    probes = live[~live["probe"].isin(["training", "evaluation"])]
    assert len(probes) > 20
    assert (probes["seconds"] > 0).all()
    later = probe_run(folder, ["iiw", "calibration"], device="cpu", save=False)
    assert all(record.seconds > 0 for record in later)
