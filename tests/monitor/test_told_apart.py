"""Runs of other people's loops: seeds of one experiment where they say what they are, each by itself where not."""

import json

import pytest
import torch
import yaml
from loops import arrays, stranger

from overfit_lab.cli.main import run as command
from overfit_lab.config import RunConfig, from_yaml, to_yaml
from overfit_lab.errors import ConfigError
from overfit_lab.methods.attacks.pgd import PGD
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.monitor.monitor import Monitor
from overfit_lab.records.experiments import alike, experiments, tell_apart
from overfit_lab.records.reader import Run, find_runs
from overfit_lab.records.summary import compare
from overfit_lab.views.diagnosis.diagnose import diagnose
from overfit_lab.views.figures.caption import caption
from overfit_lab.views.figures.experiments import by_experiment
from overfit_lab.views.figures.methods import draw
from overfit_lab.views.report.material import Material
from overfit_lab.views.tables.methods import methods
from overfit_lab.views.tables.options import TableOptions

METHODS = ("PGD-AT", "PGD-AT + LS")


def monitored(folder, weights_of=0, **said):
    """A loop of two epochs that says something of itself, or nothing."""
    train, test = arrays()
    model = stranger()
    torch.manual_seed(weights_of)
    attack = PGD(ThreatModel(eps=0.1), step_size=0.05, n_steps=1)
    monitor = Monitor(model, train, test, probes=[], attack=attack, n=40, folder=folder, **said)
    for _ in range(2):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        monitor.epoch_ended()
    monitor.close()
    return Run.open(folder)


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    folder = tmp_path_factory.mktemp("six")
    for i, method in enumerate(METHODS):
        for seed in range(3):
            monitored(folder / f"{i}-{seed}", 10 * i + seed, method=method, seed=seed, config={"lr": 0.1})
    return find_runs([folder])


@pytest.fixture(scope="module")
def silent(tmp_path_factory):
    folder = tmp_path_factory.mktemp("silent")
    return [monitored(folder / name, i) for i, name in enumerate(("first", "second"))]


def judged(runs):
    """How many runs each group has, by everyone who groups."""
    sizes = {
        "compare": sorted(compare(runs)["n_seeds"]),
        "table": sorted(row.seeds for row in methods(runs, TableOptions()).rows),
        "diagnose": sorted(len(subject.runs) for subject in diagnose(runs).subjects),
        "figures": sorted(map(len, by_experiment(runs).values())),
        "report": sorted(len(group.runs) for group in Material(runs, "title").groups),
        "experiments": sorted(map(len, experiments(runs))),
    }
    return {judge: tuple(members) for judge, members in sizes.items()}


def labels_of(figure):
    return [text.get_text() for text in figure.axes[0].get_yticklabels()]


def test_two_methods_of_three_seeds_are_two_experiments_for_everybody(six):
    assert set(judged(six).values()) == {(3, 3)}
    assert {row.label for row in methods(six, TableOptions()).rows} == set(METHODS)
    assert set(compare(six)["labels"]) == set(METHODS)
    assert set(compare(six)["noise"]) == {"unknown"}
    assert set(labels_of(draw(six))) == set(METHODS)
    assert "mean of 3 seeds" in caption(six)
    assert alike(six) == ()


def test_runs_that_say_nothing_are_a_row_each_and_said_to_be_so(silent, capsys, tmp_path):
    assert set(judged(silent).values()) == {(1, 1)}
    (note,) = alike(silent)
    assert "first, second" in note
    assert "none are averaged" in note
    folders = [str(run.folder) for run in silent]
    for name in ("compare", "table", "diagnose"):
        assert command([name, *folders]) == 0
        assert note in " ".join(capsys.readouterr().out.split())
    report = tmp_path / "report.html"
    assert command(["report", *folders, "--out", str(report)]) == 0
    assert "first, second; Monitor(method=..., seed=...)" in report.read_text()
    assert note in caption(silent)
    assert sorted(labels_of(draw(silent))) == ["unknown method (first)", "unknown method (second)"]
    assert tell_apart([[run] for run in silent]) == ["first", "second"]
    assert command(["figure", "fig1", *folders, "--out", str(tmp_path / "fig.png")]) == 2
    assert "cannot be told apart" in capsys.readouterr().err


def test_a_seed_that_is_there_twice_counts_once_for_everybody(six, tmp_path):
    again = monitored(tmp_path / "again", 7, method=METHODS[0], seed=0, config={"lr": 0.1})
    assert compare([*six[:3], again])["n_seeds"].tolist() == [3]
    note = "Left out, the same experiment with the same seed as another: again (as 0-0)."
    assert diagnose([*six[:3], again]).notes == (note,) == methods([*six[:3], again], TableOptions()).notes[:1]
    assert note in caption([*six[:3], again])


def test_what_a_loop_does_not_say_is_not_written_as_a_fact(silent, six):
    text = (silent[0].folder / "config.yaml").read_text()
    content = yaml.safe_load(text)
    assert not {"objective", "labels", "optimizer", "schedule", "epochs", "seed", "batch_size"} & set(content)
    assert set(content["attack"]) == {"norm", "eps"}
    info = json.loads((silent[0].folder / "run.json").read_text())
    assert info["seed"] is None
    assert {"objective", "labels", "optimizer", "schedule", "epochs", "seed"} <= set(info["monitored"]["unknown"])
    said = json.loads((six[-1].folder / "run.json").read_text())["monitored"]
    assert (said["method"], said["config"]) == (METHODS[1], {"lr": 0.1})
    assert six[-1].config.seed == 2
    assert to_yaml(from_yaml(text)) == text


def test_settings_tell_runs_apart_and_may_be_anything(tmp_path):
    runs = [
        monitored(tmp_path / f"{lr}", method="theirs, with care", config={"lr": lr, "seed": 1, "path": tmp_path})
        for lr in (0.1, 0.2)
    ]
    assert [run.config.seed for run in runs] == [1, 1]
    assert tell_apart([[run] for run in runs]) == ["lr 0.1", "lr 0.2"]
    assert sorted(row.label for row in methods(runs, TableOptions()).rows) == [
        "theirs, with care (lr 0.1)",
        "theirs, with care (lr 0.2)",
    ]
    train, _ = arrays()
    with pytest.raises(ConfigError, match="seed = 2: config says seed = 1"):
        Monitor(stranger(), train, seed=2, config={"seed": 1})


def test_a_folder_of_an_older_monitor_says_nothing_of_its_loop():
    config = from_yaml("schema: 1\nname: monitor\nmodel: 'theirs:Net'\ndata: {name: arrays}\nlabels: hard")
    assert config.is_monitored
    assert not config.knows("labels")
    assert config.knows("attack.eps")
    assert not RunConfig().is_monitored
