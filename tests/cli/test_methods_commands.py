"""Methods on the command line: combinations, teachers, second weights, studies."""

import json
import math

import pytest

from overfit_lab.cli.main import run
from overfit_lab.config import to_yaml
from overfit_lab.config.recipes import RECIPES, STUDIES
from overfit_lab.config.recipes.methods import METHODS
from overfit_lab.records.reader import Run, find_runs
from tiny import tiny_config


@pytest.fixture(scope="module")
def tiny_yaml(tmp_path_factory):
    path = tmp_path_factory.mktemp("yaml") / "tiny.yaml"
    path.write_text(to_yaml(tiny_config("hard", probes={"every": 2, "metrics": ["calibration"]})))
    return str(path)


def test_objective_labels_and_regularizers_combine(tiny_yaml, tmp_path, capfd):
    sets = ["objective.name=trades", "labels.name=sglr", "regularizers=[awp,swa]", "regularizers.awp.gamma=0.02"]
    arguments = [part for text in sets for part in ("--set", text)]
    folder = tmp_path / "run"
    assert run(["train", tiny_yaml, *arguments, "--out", str(folder), "--device", "cpu"]) == 0
    config = Run.open(folder).config
    assert [part.name for part in config.regularizers] == ["awp", "swa"]
    assert config.regularizers[0].options == {"gamma": 0.02, "start_epoch": "5%"}
    assert config.regularizers[1].options["start_epoch"] == 2  # the first decay
    capfd.readouterr()
    assert run(["compare", str(folder), "--format", "json"]) == 0
    rows = json.loads(capfd.readouterr()[0])
    assert [(row["labels"], row["weights"]) for row in rows] == [
        ("trades, sglr + awp + swa", "raw"),
        ("trades, sglr + awp + swa", "swa"),
    ]
    assert all(row["ece_adv_final"] is not None for row in rows)
    assert rows[0]["ece_adv_final"] != rows[1]["ece_adv_final"]
    assert run(["probe", str(folder), "--metric", "confidence", "--weights", "swa", "--json", "--no-save"]) == 0
    assert {row["probe"] for row in json.loads(capfd.readouterr()[0])} == {"confidence@swa"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights", "ema"], "weights 'ema': this run has raw, swa"),
        (["--weights", "swa", "--checkpoint", "1"], "none kept yet at checkpoint '1'"),
    ],
)
def test_weights_that_are_not_there(tiny_yaml, tmp_path, capfd, arguments, message):
    folder = tmp_path / "run"
    assert run(["train", tiny_yaml, "--set", "regularizers=swa", "--out", str(folder), "--device", "cpu"]) == 0
    capfd.readouterr()
    assert run(["probe", str(folder), "--metric", "calibration", *arguments]) == 2
    err = capfd.readouterr()[1]
    assert message in err
    assert err.count("\n") == 1


def test_the_training_of_a_teacher_is_shown(tiny_yaml, tmp_path, capfd):
    folder = tmp_path / "run"
    labels = "labels={name: kd, teacher: 'train:pgd-at'}"
    assert run(["train", tiny_yaml, "--set", labels, "--out", str(folder), "--device", "cpu"]) == 0
    assert "run, teacher pgd-at: epoch 4/4" in capfd.readouterr()[1]
    assert Run.open(folder / "teachers" / "pgd-at").info["status"] == "completed"


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ("runs/nowhere", "no such run folder or weights file"),
        ("train:pgd", "did you mean"),
        ("{run}@77", "no checkpoint '77'"),
    ],
)
def test_a_teacher_that_is_not_there_is_refused_before_anything_is_made(
    tiny_yaml, tmp_path, capfd, teacher, message, teacher_run
):
    folder = tmp_path / "run"
    named = teacher.replace("{run}", str(teacher_run))
    labels = "labels={name: kd, teacher: '" + named + "'}"
    assert run(["train", tiny_yaml, "--set", labels, "--out", str(folder), "--device", "cpu"]) == 2
    err = capfd.readouterr()[1]
    assert message in err
    assert err.count("\n") == 1
    assert not folder.exists()


def test_a_teacher_of_other_classes_is_refused(tiny_yaml, tmp_path, capfd, teacher_run):
    labels = "labels={name: kd, teacher: '" + str(teacher_run) + "'}"
    sets = ["--set", labels, "--set", "model={name: mlp, hidden: 24}"]
    (teacher_run / "config.yaml").rename(tmp_path / "kept.yaml")
    try:
        changed = tiny_config("hard", epochs=2, objective="standard", model={"name": "mlp", "hidden": 8})
        (teacher_run / "config.yaml").write_text(to_yaml(changed))
        assert run(["train", tiny_yaml, *sets, "--out", str(tmp_path / "run"), "--device", "cpu"]) == 2
    finally:
        (tmp_path / "kept.yaml").rename(teacher_run / "config.yaml")
    err = capfd.readouterr()[1]
    assert "shape" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_every_method_has_a_recipe_at_both_scales():
    for method in METHODS:
        assert f"digits-{method}" in RECIPES
        assert f"paper-cifar10-{method}" in RECIPES


@pytest.mark.parametrize("name", list(STUDIES))
def test_every_study_plans_its_cells(name):
    from overfit_lab.config import apply_overrides
    from overfit_lab.config.recipes import recipe
    from overfit_lab.sweeps.axes import parse_axes
    from overfit_lab.sweeps.cells import expand

    study = STUDIES[name]
    axes = parse_axes(study.axes)
    cells = expand(apply_overrides(recipe(study.recipe), list(study.sets)), axes, [0, 1])
    assert len(cells) == 2 * math.prod(map(len, axes.values()))
    assert len({cell.name for cell in cells}) == len(cells)


def test_a_study_trains_its_grid(tmp_path, capfd):
    small = ["epochs=1", "data.n_train=64", "data.n_test=32", "evaluation.n_steps=1", "batch_size=64"]
    arguments = [part for text in small for part in ("--set", text)]
    out = tmp_path / "study"
    assert run(["train", "digits-corruption", *arguments, "--out", str(out), "--device", "cpu"]) == 0
    runs = {run.name.rpartition("-")[0]: run for run in find_runs([out])}
    assert sorted(runs) == ["attack_gaussian-noise-seed0", "attack_pgd-seed0", "attack_random-pixels-seed0"]
    noisy = runs["attack_gaussian-noise-seed0"].series("evaluation", "acc_noisy", "test", "noisy")
    assert len(noisy) == 1


def test_a_teacher_that_saw_the_test_images_is_refused(tiny_yaml, tmp_path, capfd, teacher_run):
    named = "labels={name: kd, teacher: '" + str(teacher_run) + "'}"
    arguments = ["train", tiny_yaml, "--set", named, "--set", "seed=1", "--out", str(tmp_path / "run")]
    assert run([*arguments, "--device", "cpu"]) == 2
    err = capfd.readouterr()[1]
    assert "images of this run's val split" in err or "images of this run's test split" in err
    assert not (tmp_path / "run").exists()
    assert run([*arguments, "--set", "data.seed=0", "--set", "epochs=1", "--device", "cpu"]) == 0
