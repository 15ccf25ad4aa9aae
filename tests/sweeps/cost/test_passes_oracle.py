"""The predicted arithmetic of a run is what it does, to the last operation."""

import pytest
import torch

from flops import Flops
from overfit_lab.config import apply_overrides
from overfit_lab.config.catalog import LABELS, OBJECTIVES, REGULARIZERS
from overfit_lab.errors import ConfigError
from overfit_lab.sweeps.cost.workload import workload
from overfit_lab.training.build import build
from overfit_lab.training.complete import complete
from overfit_lab.training.events import EventBus
from overfit_lab.training.loop import train
from parts import part
from tiny import tiny_config

SMALL = {
    "epochs": 2,
    "batch_size": 8,
    "data": {"name": "digits", "n_train": 21, "n_val": 6, "n_test": 9, "augment": ["crop"], "crop_padding": 1},
    "model": {"name": "mlp", "hidden": 8, "depth": 1},
    "schedule": {"name": "piecewise", "milestones": [1]},
    "evaluation": {"n_steps": 1, "n_train": 5, "chunk": 4},
    "probes": {},
    "compute": {"fold": False, "compile": False},
}


def counted(config):
    """Floating-point operations of training and evaluation, as they happen; teachers are loaded before."""
    session = build(complete(config), torch.device("cpu"))
    teachers = {source: session.teachers.load(source) for source in session.teachers.sources}
    session.teachers.load = teachers.__getitem__
    with Flops() as count:
        train(session, EventBus())
    return count.total


def predicted(config):
    return sum(own.flops for own in workload(config).parts.values())


def config_of(teacher, objective="pgd-at", labels="hard", regularizer=None, **changes):
    added = [part(REGULARIZERS, regularizer, teacher)] if regularizer else []
    return tiny_config(
        part(LABELS, labels, teacher),
        **{**SMALL, "objective": part(OBJECTIVES, objective, teacher), "regularizers": added, **changes},
    )


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A run of the same network."""
    from overfit_lab.training.run import train_run

    folder = tmp_path_factory.mktemp("teacher") / "run"
    train_run(tiny_config("hard", **{**SMALL, "epochs": 1, "schedule": {"name": "constant"}}), folder, device="cpu")
    return folder


@pytest.mark.parametrize("labels", list(LABELS))
@pytest.mark.parametrize("objective", list(OBJECTIVES))
def test_every_objective_with_every_label_mode(objective, labels, teacher):
    config = config_of(teacher, objective, labels)
    assert predicted(config) == counted(config)


@pytest.mark.parametrize("objective", list(OBJECTIVES))
def test_awp_with_every_objective(objective, teacher):
    config = config_of(teacher, objective, "sglr", "awp")
    assert predicted(config) == counted(config)


@pytest.mark.parametrize("regularizer", list(REGULARIZERS))
def test_every_regularizer(regularizer, teacher):
    config = config_of(teacher, regularizer=regularizer)
    assert predicted(config) == counted(config)


CASES = {
    "restarts": ["attack.n_restarts=3", "evaluation.n_restarts=2"],
    "no attack steps": ["attack.n_steps=0"],
    "no evaluation attack": ["evaluation.n_steps=0"],
    "noise for an attack": ["attack.name=gaussian-noise"],
    "evaluation under noise": ["evaluation.corruption=random-pixels"],
    "every second epoch": ["epochs=5", "evaluation.every=2"],
    "a last batch of one image": ["data.n_train=17"],
    "fewer images than a batch": ["batch_size=64"],
    "batch norm in train mode": ["attack.bn_mode=train"],
    "a growing ball": ["attack.eps_schedule=cosine"],
    "sglr from the second epoch on": ["labels={name: sglr, start_epoch: 1}"],
    "te from the second epoch on": ["labels={name: te, start_epoch: 1}", "epochs=3"],
    "awp from the second epoch on": ["regularizers=[{name: awp, start_epoch: 1}]"],
    "trades with restarts": ["objective=trades", "attack.n_restarts=2"],
    "a convolutional network": ["model={name: preact-resnet18, width: 4, blocks: [1, 1]}"],
    "swa recomputes statistics": ["regularizers=[{name: swa, start_epoch: 1}]", "epochs=4"],
}


@pytest.mark.parametrize("case", list(CASES))
def test_settings(case, teacher):
    config = apply_overrides(config_of(teacher), CASES[case])
    assert predicted(config) == counted(config) > 0


STRANGERS = {
    "one more pass": "model(batch.x), model(x_adv)",
    "needs numbers": "n = 1 + int(model(batch.x).abs().sum().item() > -1); [model(x_adv) for _ in range(n)]",
}


@pytest.mark.parametrize("case", list(STRANGERS))
def test_a_strangers_objective_is_counted(case, teacher, tmp_path, monkeypatch):
    """Nothing is known of components by name; what needs numbers gets some."""
    name = f"thrice_{case.replace(' ', '_')}"
    (tmp_path / f"{name}.py").write_text(
        "from overfit_lab.methods.objectives.pgd_at import PgdAt\n"
        "class Thrice(PgdAt):\n"
        "    def forward(self, model, batch, x_adv):\n"
        f"        {STRANGERS[case]}\n"
        "        return super().forward(model, batch, x_adv)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    config = apply_overrides(config_of(teacher), [f"objective={name}:Thrice"])
    assert predicted(config) == counted(config)


def test_teachers_that_are_trained_first_are_runs_of_their_own(teacher):
    config = apply_overrides(config_of(teacher), ["regularizers=[kd-at]"])
    work = workload(config)
    assert sorted(work.teachers) == ["pgd-at", "standard"]
    plain = apply_overrides(config, ["regularizers=[]"])
    assert work.teachers["pgd-at"].training == workload(plain).training
    asked = apply_overrides(config, ["compute.precision=bf16"])
    assert workload(asked).teachers["standard"].config.compute == asked.compute
    assert work.parts["update"].flops > workload(plain).parts["update"].flops


def test_counting_leaves_the_random_stream_alone(teacher):
    before = torch.get_rng_state()
    workload(config_of(teacher))
    assert torch.equal(before, torch.get_rng_state())


def test_a_wrong_combination_is_refused(teacher):
    with pytest.raises(ConfigError, match="attack makes none"):
        workload(apply_overrides(config_of(teacher), ["objective=mart", "attack.n_steps=0"]))
