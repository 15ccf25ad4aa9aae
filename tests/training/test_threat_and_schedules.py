"""The l_2 threat model throughout, eps schedules, noise in place of the attack, and the warm-up of the rate."""

import pytest
import torch

from overfit_lab.config import apply_overrides, parse_config
from overfit_lab.config.catalog import OBJECTIVES
from overfit_lab.config.recipes import recipe
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.records.reader import Run
from overfit_lab.training.build import build
from overfit_lab.training.complete import complete
from overfit_lab.training.events import EventBus, StepEnded
from overfit_lab.training.loop import train
from overfit_lab.training.run import train_run
from overfit_lab.training.step import attacked_step
from overfit_lab.types import Clock
from tiny import tiny_config

CPU = torch.device("cpu")
L2 = {"norm": "l2", "eps": 0.5, "step_size": 0.15, "n_steps": 3}


def first_step(config, clock=None):
    session = build(config, CPU)
    if clock is not None:
        session.clock = clock
    session.model.train()
    return attacked_step(session, next(iter(session.loader.epoch(0))))


@pytest.mark.parametrize("objective", list(OBJECTIVES))
def test_l2_attacks_of_every_objective_stay_in_the_ball_and_reach_its_surface(objective):
    step = first_step(tiny_config("hard", objective=objective, attack=L2, probes={}))
    length = (step.x_adv - step.batch.x).flatten(1).norm(dim=1)
    assert length.max() <= 0.5 + 1e-5
    if OBJECTIVES[objective].needs_attack:
        assert length.median() > 0.3
    assert step.x_adv.min() >= 0
    assert step.x_adv.max() <= 1


def test_l2_training_evaluates_in_the_l2_ball(tmp_path):
    config = tiny_config("sglr", attack=L2, epochs=2, probes={})
    session = build(config, CPU)
    assert session.setting.attack.threat == session.attack.threat == ThreatModel("l2", 0.5)
    train_run(config, tmp_path / "run", device="cpu")
    assert len(Run.open(tmp_path / "run").series("evaluation", "acc_adv", "test", "adversarial")) == 2


def test_l2_has_the_usual_radius_where_none_is_given():
    config = parse_config({"attack": {"norm": "l2"}})
    assert (config.attack.eps, config.attack.step_size) == (128 / 255, 15 / 255)
    assert parse_config({"attack": {"norm": "l2", "eps": 1.0}}).attack.eps == 1.0


def test_another_norm_drops_lengths_of_the_old_one():
    changed = apply_overrides(recipe("digits-hard"), ["attack.norm=l2"])
    assert changed.attack.eps == 128 / 255
    kept = apply_overrides(recipe("digits-hard"), ["attack.norm=l2", "attack.eps=0.3", "attack.step_size=0.1"])
    assert (kept.attack.eps, kept.attack.step_size) == (0.3, 0.1)
    assert apply_overrides(changed, ["attack.n_steps=3"]).attack.eps == 128 / 255
    assert apply_overrides(recipe("digits-hard"), ["attack.norm=linf"]).attack.eps == 0.1


@pytest.mark.parametrize(("progress", "factor"), [(0.0, 0.25), (1.0, 0.625), (2.0, 1.0), (3.5, 1.0)])
def test_eps_follows_its_schedule(progress, factor):
    attack = {
        "eps": 0.1,
        "step_size": 0.1,
        "n_steps": 2,
        "eps_schedule": {"name": "ramp", "start": 0.25, "until": 2},
    }
    clock = Clock(epoch=int(progress), step=0, n_epochs=4, progress=progress)
    step = first_step(tiny_config("hard", attack=attack, probes={}), clock)
    assert (step.x_adv - step.batch.x).abs().max().item() == pytest.approx(0.1 * factor, abs=1e-6)


def test_the_evaluation_attack_has_the_whole_eps():
    attack = {"eps": 0.1, "step_size": 0.1, "eps_schedule": "ramp"}
    assert build(tiny_config("hard", attack=attack, probes={}), CPU).setting.attack.threat.eps == 0.1


@pytest.mark.parametrize("name", ["gaussian-noise", "random-pixels"])
def test_noise_takes_the_place_of_the_attack_and_is_evaluated_apart(name, tmp_path):
    config = tiny_config(
        "hard",
        attack={"name": name, "eps": 0.1},
        evaluation={"n_steps": 3, "corruption": name},
        epochs=2,
        probes={"every": 2, "metrics": ["calibration"], "inputs": ["clean", "noisy"]},
    )
    step = first_step(config)
    delta = step.x_adv - step.batch.x
    inside = (step.batch.x > 0.15) & (step.batch.x < 0.85)
    assert delta.abs().max() <= 0.1 + 1e-6
    if name == "random-pixels":
        assert (delta[inside].abs() - 0.1).abs().max() < 1e-6
    assert abs(delta[inside].mean()) < 0.02
    train_run(config, tmp_path / "run", device="cpu")
    run = Run.open(tmp_path / "run")
    noisy, attacked = (
        run.series("evaluation", *kind)
        for kind in (("loss_noisy", "test", "noisy"), ("loss_adv", "test", "adversarial"))
    )
    assert len(noisy) == len(attacked) == 2
    assert (noisy["value"] < attacked["value"]).all()
    assert run.value_at(2, "calibration", "ece", "test", "noisy") is not None


def test_noise_in_the_l2_ball_has_the_length_eps():
    step = first_step(tiny_config("hard", attack={"name": "gaussian-noise", **L2}, probes={}))
    middle = torch.full_like(step.batch.x, 0.5)
    attack = build(tiny_config("hard", attack={"name": "gaussian-noise", **L2}, probes={}), CPU).attack
    moved = attack(torch.nn.Identity(), middle, lambda z: z, generator=torch.Generator().manual_seed(0)) - middle
    torch.testing.assert_close(moved.flatten(1).norm(dim=1), torch.full((len(middle),), 0.5))


def test_the_rate_warms_up_under_any_schedule():
    config = tiny_config("hard", optimizer={"lr": 0.2, "warmup": 2}, schedule={"name": "constant"}, probes={})
    session = build(config, CPU)
    rates = []
    bus = EventBus()
    bus.on(StepEnded, lambda event: rates.append(event.lr))
    train(session, bus)
    n = session.loader.n_batches
    expected = [0.2 * min(1.0, (i + 1) / (2 * n)) for i in range(4 * n)]
    assert rates == pytest.approx(expected)


def test_completed_configurations_come_back_equal():
    config = complete(tiny_config("te", regularizers=["awp", "swa"], attack={"eps_schedule": "ramp"}))
    assert complete(config) == config
