"""Which runs count as seeds of one experiment: one answer for every key, whoever is asked."""

import shutil

import pytest
from pydantic import BaseModel

from overfit_lab.cli.main import run
from overfit_lab.config import Part, RunConfig, apply_settings, parse_config, to_yaml
from overfit_lab.config.schema import Affects
from overfit_lab.records import identity
from overfit_lab.records.experiments import differences, experiments, tell_apart, unrepeated
from overfit_lab.records.reader import Run
from overfit_lab.records.summary import compare
from overfit_lab.views.diagnosis.subject import settings_of, subjects_of
from overfit_lab.views.figures.experiments import by_experiment
from overfit_lab.views.tables.entries import entries
from run_factory import make_run

BASE = {
    "data": {"name": "digits", "noise": {"kind": "symmetric", "rate": 0.3}, "image_size": 8, "shorter_side": 9},
    "attack": {"eps_schedule": {"name": "ramp", "until": 3}},
    "labels": {"name": "sglr", "r": 0.2},
    "regularizers": [{"name": "awp", "gamma": 0.01}, {"name": "swa", "start": 3}],
}
OTHER = {
    "name": "other",
    "when_diverged": "continue",
    "seed": 7,
    "epochs": 30,
    "batch_size": 64,
    "data.name": "mnist",
    "data.root": "elsewhere",
    "data.download": True,
    "data.n_train": 400,
    "data.n_val": 50,
    "data.n_test": 90,
    "data.splits.train": ["learn"],
    "data.splits.val": ["dev"],
    "data.splits.test": ["holdout"],
    "data.columns.image": "photo",
    "data.columns.label": "kind",
    "data.augment": ["flip"],
    "data.crop_scale": [0.5, 1.0],
    "data.crop_padding": 2,
    "data.cutout_size": 4,
    "data.noise.kind": "asymmetric",
    "data.noise.rate": 0.1,
    "data.seed": 3,
    "data.image_size": 7,
    "data.shorter_side": 10,
    "data.stream": True,
    "data.memory_limit": "8GB",
    "data.workers": 3,
    "data.prefetch": 4,
    "model": {"name": "mlp", "hidden": 33},
    "attack.name": "gaussian-noise",
    "attack.norm": "l2",
    "attack.eps": 0.1,
    "attack.step_size": 0.01,
    "attack.n_steps": 7,
    "attack.n_restarts": 2,
    "attack.random_start": False,
    "attack.bn_mode": "train",
    "attack.eps_schedule": {"name": "ramp", "until": 4},
    "objective": "trades",
    "labels": {"name": "sglr", "r": 0.3},
    "regularizers": [{"name": "swa", "start": 3}, {"name": "awp", "gamma": 0.01}],
    "optimizer.name": None,
    "optimizer.lr": 0.2,
    "optimizer.momentum": 0.8,
    "optimizer.weight_decay": 0.001,
    "optimizer.nesterov": True,
    "optimizer.warmup": 2,
    "schedule": "cosine",
    "evaluation.every": 2,
    "evaluation.attack": "square",
    "evaluation.corruption": "gaussian-noise",
    "evaluation.n_steps": 50,
    "evaluation.step_size": 0.01,
    "evaluation.n_restarts": 5,
    "evaluation.n_queries": 100,
    "evaluation.n_train": 200,
    "evaluation.n_test": 100,
    "evaluation.n_val": 20,
    "evaluation.chunk": 64,
    "probes.every": 2,
    "probes.metrics": ["iiw"],
    "probes.n": 100,
    "probes.splits": ["val"],
    "probes.inputs": ["clean"],
    "probes.options": {"iiw": {"n": 5}},
    "probes.budget": "5%",
    "dynamics.keep": "compact",
    "checkpoint.every": 5,
    "checkpoint.steps": 10,
    "compute.precision": "bf16",
    "compute.compile": False,
    "compute.channels_last": False,
    "compute.graph": False,
    "compute.fold": False,
    "compute.threads": 3,
    "compute.batch_norm": "per-device",
    "compute.label_memory": "disk",
    "compute.label_memory_limit": "2GB",
    "monitored.known": ["data.name", "model"],
    "monitored.method": "theirs",
    "monitored.config": {"lr": 0.3},
    "monitored.tags": ["first"],
    "monitored.data": {"train": 50},
}
"""Every key of the schema with another value than :data:`BASE` has; None where there is only one."""
JUDGES = {
    "compare": lambda runs: len(compare(runs)),
    "table": lambda runs: len(entries(unrepeated(runs)[0])),
    "diagnose": lambda runs: len(subjects_of(runs)),
    "figures": lambda runs: len(by_experiment(runs)),
}


def leaves(schema=RunConfig, prefix=""):
    for name, field in schema.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel) and inner is not Part:
            yield from leaves(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("runs") / "base", probes=False)
    (run.folder / "config.yaml").write_text(to_yaml(parse_config(BASE)))
    return Run.open(run.folder)


def other_run(base, folder, *settings):
    """The same folder with other settings in its configuration."""
    shutil.copytree(base.folder, folder)
    (folder / "config.yaml").write_text(to_yaml(apply_settings(base.config, settings)))
    return Run.open(folder)


@pytest.mark.parametrize(("key", "field"), list(leaves()))
def test_every_key_says_once_what_it_affects(key, field):
    assert sum(isinstance(mark, Affects) for mark in field.metadata) == 1, f"{key}: say what it affects in the schema"
    assert identity.affects(key) in field.metadata
    assert key in OTHER


@pytest.mark.parametrize("key", [key for key, value in OTHER.items() if value is not None])
def test_all_judge_two_runs_that_differ_in_one_key_alike(key, base, tmp_path):
    other = other_run(base, tmp_path / "other", (key, OTHER[key]))
    runs = [base, other]
    assert other.config != base.config
    what = identity.affects(key)
    n = 2 if what in (Affects.TASK, Affects.METHOD, Affects.MEASURE) else 1
    assert {name: judge(runs) for name, judge in JUDGES.items()} == dict.fromkeys(JUDGES, n)
    assert len(experiments(runs)) == n
    assert (len(differences(runs)) > 0) == (n == 2)
    assert len(settings_of(subjects_of(runs))) == (2 if what in (Affects.TASK, Affects.MEASURE) else 1)
    same_training = identity.training(other.config) == identity.training(base.config)
    assert same_training == (what not in (Affects.TASK, Affects.METHOD, Affects.SEED))
    assert (identity.run(other.config) == identity.run(base.config)) == (what is Affects.NOTHING)


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("labels.r", Affects.METHOD),
        ("regularizers.awp.gamma", Affects.METHOD),
        ("attack.eps_schedule.until", Affects.METHOD),
        ("model.hidden", Affects.TASK),
        ("probes.options.iiw.n", Affects.RECORDS),
    ],
)
def test_an_option_does_what_its_component_does(key, what):
    assert identity.affects(key) is what


def test_seeds_that_were_evaluated_in_other_pieces_are_one_experiment_with_two_seeds(base, tmp_path):
    """They were two experiments to compare, and one with two seeds to table."""
    other = other_run(base, tmp_path / "other", ("seed", 1), ("evaluation.chunk", 64))
    assert compare([base, other])["n_seeds"].tolist() == [2]
    (entry,) = [e for e in entries([base, other]) if e.weights == "raw"]
    assert len(entry.runs) == 2


def test_the_order_of_regularizers_is_named_where_nothing_else_tells_apart(base, tmp_path):
    turned = other_run(base, tmp_path / "turned", ("regularizers", OTHER["regularizers"]))
    assert tell_apart([[base], [turned]]) == ["order awp, swa", "order swa, awp"]
    fewer = other_run(base, tmp_path / "fewer", ("regularizers", BASE["regularizers"][:1]))
    assert differences([base, fewer]) == {"regularizers.swa.name": ["swa", None], "regularizers.swa.start": [3, None]}


def test_further_keys_and_groups_may_be_left_out():
    one, two = parse_config(BASE), parse_config({**BASE, "schedule": "cosine", "optimizer": {"lr": 0.3}})
    assert identity.experiment(one, ["schedule", "optimizer.lr"]) == identity.experiment(
        two, ["schedule", "optimizer.lr"]
    )
    assert identity.experiment(one, ["schedule"]) != identity.experiment(two, ["schedule"])


def test_a_run_is_gone_on_with_where_its_data_lie_now_and_with_no_other_settings(tmp_path, capsys):
    arguments = ["--set", "epochs=2", "--set", "evaluation.n_test=50", "--set", "evaluation.n_train=50"]
    folder = str(tmp_path / "run")
    assert run(["train", "digits-hard", "--out", folder, "--device", "cpu", *arguments, "--set", "epochs=1"]) == 0
    again = ["train", "digits-hard", "--out", folder, "--device", "cpu", *arguments, "--set", "epochs=1", "--resume"]
    assert run([*again, "--set", f"data.root={tmp_path}", "--set", "name=moved"]) == 0
    capsys.readouterr()
    assert run([*again, "--set", "evaluation.every=3"]) == 2
    assert "holds a run of another configuration (evaluation.every is 1 there and 3 now)" in capsys.readouterr().err
