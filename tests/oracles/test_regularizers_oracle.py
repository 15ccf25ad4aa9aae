"""Regularizers against naive computations: weights, averages, batch-norm statistics, mixed targets, teachers."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from overfit_lab.records.reader import Run
from overfit_lab.training.build import build
from overfit_lab.training.checkpoint import load_checkpoint
from overfit_lab.training.events import EpochEnded, EventBus
from overfit_lab.training.loop import train
from overfit_lab.training.run import train_run
from overfit_lab.training.step import attacked_step, step_loss, targets_of
from overfit_lab.types import Outputs, to_float
from tiny import tiny_config

CPU = torch.device("cpu")
CNN = {"name": "small-cnn"}


def session_of(*regularizers, labels="hard", **changes):
    return build(tiny_config(labels, regularizers=list(regularizers), **{"probes": {}, **changes}), CPU)


def first_step(session):
    session.model.train()
    return attacked_step(session, next(iter(session.loader.epoch(0))))


@pytest.mark.parametrize("objective", ["pgd-at", "trades"])
def test_awp_moves_each_layer_by_gamma_along_its_gradient_and_back_to_the_bit(objective):
    session = session_of({"name": "awp", "gamma": 0.03}, objective=objective, model=CNN)
    step = first_step(session)
    before = {name: p.detach().clone() for name, p in session.model.named_parameters()}
    statistics = {name: b.clone() for name, b in session.model.named_buffers()}
    other = session_of(objective=objective, model=CNN)
    theirs = first_step(other)
    if objective == "pgd-at":
        loss = functional.cross_entropy(other.model(theirs.x_adv), theirs.batch.y)
    else:
        clean, adv = other.model(theirs.batch.x), other.model(theirs.x_adv)
        loss = functional.cross_entropy(clean, theirs.batch.y) + 6 * functional.kl_div(
            torch.log_softmax(adv, 1), torch.softmax(clean, 1), reduction="batchmean"
        )
    loss.backward()
    gradients = {name: p.grad for name, p in other.model.named_parameters()}
    if objective == "trades":
        session.regularizers["awp"].start_epoch = 0
    with session.regularizers["awp"].perturbed(step):
        moved = 0
        for name, p in session.model.named_parameters():
            g = gradients[name]
            expected = before[name]
            if p.dim() > 1:
                expected = before[name] + 0.03 * before[name].norm() * g / g.norm()
                moved += not torch.equal(p, before[name])
            torch.testing.assert_close(p.detach(), expected, atol=1e-6, rtol=1e-5)
        assert moved > 1
    assert all(torch.equal(p, before[name]) for name, p in session.model.named_parameters())
    assert all(torch.equal(b, statistics[name]) for name, b in session.model.named_buffers())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_awp_takes_the_gradient_at_the_moved_weights(precision):
    """Mixed precision keeps cast weights while its context lasts: a copy from before the move must not serve."""
    session = session_of({"name": "awp", "gamma": 0.05}, model=CNN, compute={"precision": precision})
    step = first_step(session)
    with session.regularizers["awp"].perturbed(step):
        at_moved = torch.autograd.grad(step_loss(session, step), list(session.model.parameters()))
    plain = torch.autograd.grad(step.objective_loss(), list(session.model.parameters()))
    assert any((a - b).abs().max() > 1e-4 for a, b in zip(at_moved, plain, strict=True))


def test_awp_restores_the_weights_when_the_step_fails():
    session = session_of("awp")
    step = first_step(session)
    before = [p.detach().clone() for p in session.model.parameters()]
    with pytest.raises(RuntimeError, match="boom"), session.regularizers["awp"].perturbed(step):
        raise RuntimeError("boom")
    assert all(torch.equal(a, b) for a, b in zip(before, session.model.parameters(), strict=True))


def test_awp_waits_for_its_warm_up():
    session = session_of({"name": "awp", "start_epoch": 1})
    step = first_step(session)
    before = [p.detach().clone() for p in session.model.parameters()]
    with session.regularizers["awp"].perturbed(step):
        assert all(torch.equal(a, b) for a, b in zip(before, session.model.parameters(), strict=True))


@pytest.mark.parametrize(("objective", "gamma", "start"), [("pgd-at", 0.01, 0), ("trades", 0.005, "5%")])
def test_awp_has_the_authors_settings_for_each_objective(objective, gamma, start):
    (part,) = session_of("awp", objective=objective).config.regularizers
    assert part.options == {"gamma": gamma, "start_epoch": start}


def kept_weights(folder, epoch):
    return load_checkpoint(folder / "checkpoints" / f"epoch-{epoch:04d}.safetensors").model


def test_swa_is_the_arithmetic_mean_of_the_checkpoints_since_the_first_decay(tmp_path):
    config = tiny_config("hard", regularizers=["swa"], model=CNN, epochs=6, probes={})
    train_run(config, tmp_path / "run", device="cpu")
    states = [kept_weights(tmp_path / "run", epoch) for epoch in (3, 4, 5, 6)]  # the first decay is after epoch 2
    kept = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.safetensors").regularizers["swa"]
    assert int(kept["count"]) == 4
    session = build(config, CPU)
    session.regularizers["swa"].load_state_dict(kept)
    (snapshot,) = session.second_snapshots()
    for name, p in snapshot.model.named_parameters():
        mean = torch.stack([state[name].double() for state in states]).mean(0)
        torch.testing.assert_close(p.detach().double(), mean, atol=1e-7, rtol=1e-6)


def batch_norm_inputs(model, x):
    """Mean and variance of what enters the first batch norm, in eval-free arithmetic."""
    found = []
    norm = next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    handle = norm.register_forward_pre_hook(lambda _, args: found.append(args[0].detach()))
    was = model.training
    model.train()
    model(x)
    model.train(was)
    handle.remove()
    return norm, found[0]


def test_swa_recomputes_batch_norm_on_the_training_images():
    session = session_of("swa", model=CNN)
    train(session, EventBus())
    (snapshot,) = session.second_snapshots()
    x = to_float(session.data.splits["train"].x)
    norm = next(m for m in snapshot.model.modules() if isinstance(m, nn.BatchNorm2d))
    mean, var = norm.running_mean.clone(), norm.running_var.clone()
    _, entered = batch_norm_inputs(snapshot.model, x)
    torch.testing.assert_close(mean, entered.mean((0, 2, 3)), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(var, entered.var((0, 2, 3)), atol=1e-5, rtol=1e-4)
    raw = next(m for m in session.model.modules() if isinstance(m, nn.BatchNorm2d))
    assert not torch.allclose(raw.running_mean, mean, atol=1e-4)
    assert raw.momentum == norm.momentum == 0.1


@pytest.mark.parametrize("warm", [True, False])
def test_ema_equals_the_recursion_over_steps(warm):
    session = session_of({"name": "ema", "decay": 0.9, "warm": warm}, model=CNN)
    states = []
    original = session.regularizers["ema"].stepped

    def spy(clock):
        states.append({name: t.detach().clone() for name, t in session.model.state_dict().items()})
        original(clock)

    session.regularizers["ema"].stepped = spy
    train(session, EventBus())
    (snapshot,) = session.second_snapshots()
    for name, tensor in snapshot.model.state_dict().items():
        if not tensor.is_floating_point():
            assert torch.equal(tensor, states[-1][name])
            continue
        expected = states[0][name].double()
        for n, state in enumerate(states[1:], start=1):
            decay = min(0.9, (1 + n) / (10 + n)) if warm else 0.9
            expected = decay * expected + (1 - decay) * state[name].double()
        torch.testing.assert_close(tensor.double(), expected, atol=1e-6, rtol=1e-5)


def test_early_stopping_keeps_the_best_epoch_on_validation(tmp_path):
    config = tiny_config("hard", regularizers=["early-stopping"], epochs=6, probes={})
    train_run(config, tmp_path / "run", device="cpu")
    run = Run.open(tmp_path / "run")
    curve = run.series("evaluation", "acc_adv", "val", "adversarial")
    best = int(curve["epoch"][curve["value"].argmax()])
    session = build(config, CPU)
    last = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.safetensors")
    session.regularizers["early-stopping"].load_state_dict(last.regularizers["early-stopping"])
    (snapshot,) = session.second_snapshots()
    expected = kept_weights(tmp_path / "run", best)
    assert all(torch.equal(t, expected[name]) for name, t in snapshot.model.state_dict().items())
    assert last.regularizers["early-stopping"]["accuracy"].item() == curve["value"].max()
    for split in ("val", "test", "train"):
        kept = run.series("evaluation@early-stopping", "acc_adv", split, "adversarial")["value"].iloc[-1]
        assert kept == run.value_at(best, "evaluation", "acc_adv", split, "adversarial")


def test_early_stopping_with_patience_ends_the_run(tmp_path):
    config = tiny_config("hard", regularizers=[{"name": "early-stopping", "patience": 1}], epochs=30, probes={})
    assert train_run(config, tmp_path / "run", device="cpu") == "completed"
    run = Run.open(tmp_path / "run")
    curve = run.series("evaluation", "acc_adv", "val", "adversarial")["value"].tolist()
    assert run.info["epoch"] == len(curve) < 30
    first_miss = next(i for i in range(1, len(curve)) if curve[i] <= max(curve[:i]))
    assert len(curve) == first_miss + 1
    assert train_run(None, tmp_path / "run", resume=True, device="cpu") == "completed"
    assert Run.open(tmp_path / "run").info["epoch"] == len(curve)


def test_mixup_mixes_images_targets_and_given_labels_alike():
    session = session_of({"name": "mixup", "alpha": 0.7}, labels={"name": "smooth", "r": 0.2})
    batch = next(iter(session.loader.epoch(0)))
    mixed = session.regularizers["mixup"].batch(batch, session.clock)
    share, partner = session.regularizers["mixup"].share, session.regularizers["mixup"].partner
    targets = targets_of(session, mixed)
    logits = torch.randn(len(batch.y), 10, generator=torch.Generator().manual_seed(0))
    loss = session.objective.loss(Outputs(adv=logits), targets)
    ascended = session.objective.attack_loss(session.model, mixed, targets)(logits)
    assert 0 < share < 1
    assert sorted(partner.tolist()) == list(range(len(batch.y)))
    total = 0.0
    for i, j in enumerate(partner.tolist()):
        torch.testing.assert_close(mixed.x[i], share * batch.x[i] + (1 - share) * batch.x[j])
        log_p = torch.log_softmax(logits[i], 0)
        smooth = [-(0.8 * log_p[y] + 0.2 * log_p.mean()) for y in (batch.y[i], batch.y[j])]
        total += (share * smooth[0] + (1 - share) * smooth[1]).item()
        hard = -(share * log_p[batch.y[i]] + (1 - share) * log_p[batch.y[j]])
        assert ascended[i].item() == pytest.approx(hard.item(), abs=1e-5)
    assert loss.item() == pytest.approx(total / len(batch.y), abs=1e-5)


def test_mixup_draws_lambda_from_beta():
    session = session_of({"name": "mixup", "alpha": 0.4})
    batch = next(iter(session.loader.epoch(0)))
    shares = []
    for step in range(400):
        clock = type(session.clock)(epoch=0, step=step, n_epochs=4)
        session.regularizers["mixup"].batch(batch, clock)
        shares.append(session.regularizers["mixup"].share)
    draws = torch.tensor(shares)
    assert draws.mean().item() == pytest.approx(0.5, abs=0.06)
    assert draws.var().item() == pytest.approx(0.25 / (2 * 0.4 + 1), rel=0.12)  # of Beta(a, a)


def test_self_distillation_is_the_weighted_sum_of_the_formula(teacher_run):
    part = {"name": "kd-at", "standard_teacher": str(teacher_run), "robust_teacher": f"{teacher_run}@initial"}
    session = session_of(part)
    step = first_step(session)
    loss = step_loss(session, step)
    student = torch.log_softmax(session.model(step.x_adv), 1)
    z = session.model(step.x_adv)
    best, initial = (
        load_checkpoint(teacher_run / "checkpoints" / f"{name}.safetensors").model for name in ("best", "initial")
    )
    expected = 0.3 * -student[range(len(step.batch.y)), step.batch.y].mean()
    for share, state in ((0.1, best), (0.6, initial)):
        teacher = session_of().model
        teacher.load_state_dict(state)
        with torch.no_grad():
            p = torch.softmax(teacher.eval()(step.x_adv) / 2, 1)
        rows = (p * (p.log() - torch.log_softmax(z / 2, 1))).sum(1)
        expected = expected + share * 4 * rows.mean()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    parameters = list(session.model.parameters())
    found, wanted = (torch.autograd.grad(value, parameters, retain_graph=True) for value in (loss, expected))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", ["l1", "l2"])
def test_penalties_add_their_norm_and_its_gradient(name):
    session, plain = session_of({"name": name, "weight": 0.01}), session_of()
    with_penalty = step_loss(session, first_step(session))
    without = step_loss(plain, first_step(plain))
    weights = [p.detach() for p in session.model.parameters() if p.dim() > 1]
    sums = [w.abs().sum().item() if name == "l1" else w.square().sum().item() / 2 for w in weights]
    assert (with_penalty - without).item() == pytest.approx(0.01 * math.fsum(sums), rel=1e-5)
    first, second = (
        torch.autograd.grad(loss, list(s.model.parameters())) for loss, s in ((with_penalty, session), (without, plain))
    )
    for p, a, b in zip(session.model.parameters(), first, second, strict=True):
        slope = torch.zeros_like(p) if p.dim() == 1 else (p.sign() if name == "l1" else p)
        torch.testing.assert_close(a - b, 0.01 * slope.detach(), atol=1e-6, rtol=1e-4)


def test_noise_and_cutout_change_the_images_before_the_attack():
    noisy = session_of({"name": "gaussian-noise", "std": 0.02})
    plain = session_of()
    gap = first_step(noisy).batch.x - first_step(plain).batch.x
    inside = (first_step(plain).batch.x > 0.2) & (first_step(plain).batch.x < 0.8)
    assert gap[inside].std().item() == pytest.approx(0.02, rel=0.15)
    cut, whole = first_step(session_of({"name": "cutout", "size": 3})).batch.x, first_step(plain).batch.x
    for image, original in zip(cut, whole, strict=True):
        rows, columns = torch.where((image != original).any(0))
        if len(rows):
            assert rows.max() - rows.min() < 3
            assert columns.max() - columns.min() < 3
            assert (image[0, rows, columns] == 0).all()
    assert (cut != whole).any()


def test_kd_swa_is_kd_at_and_swa_together(teacher_run):
    teachers = {"standard_teacher": str(teacher_run), "robust_teacher": str(teacher_run)}
    one = session_of({"name": "kd-swa", **teachers})
    two = session_of({"name": "kd-at", **teachers}, "swa")
    for session in (one, two):
        train(session, EventBus())
    (first,), (second,) = one.second_snapshots(), two.second_snapshots()
    assert (first.weights, second.weights) == ("kd-swa", "swa")
    for a, b in zip(first.model.state_dict().values(), second.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_teachers_are_trained_first_into_the_runs_folder(tmp_path):
    config = tiny_config("hard", regularizers=["kd-at"], epochs=2, probes={})
    assert train_run(config, tmp_path / "run", device="cpu") == "completed"
    for name in ("standard", "pgd-at"):
        teacher = Run.open(tmp_path / "run" / "teachers" / name)
        assert teacher.info["status"] == "completed"
        assert teacher.config.objective.name == name
        assert teacher.config.data == config.data
        assert teacher.config.epochs == 2
        assert teacher.config.regularizers == ()
    again = tmp_path / "again"
    named = {"name": "kd-at"} | {
        f"{kind}_teacher": str(tmp_path / "run" / "teachers" / objective)
        for kind, objective in (("standard", "standard"), ("robust", "pgd-at"))
    }
    train_run(tiny_config("hard", regularizers=[named], epochs=2, probes={}), again, device="cpu")
    first, second = (load_checkpoint(f / "checkpoints" / "last.safetensors").model for f in (tmp_path / "run", again))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_interrupted_while_its_teacher_trains_goes_on(tmp_path, monkeypatch):
    config = tiny_config({"name": "kd", "teacher": "train:pgd-at"}, epochs=2, probes={})
    train_run(config, tmp_path / "whole", device="cpu")
    folder = tmp_path / "stopped"
    original = EventBus.emit

    def stop_in_the_teacher(self, event):
        original(self, event)
        if isinstance(event, EpochEnded):
            raise KeyboardInterrupt

    monkeypatch.setattr(EventBus, "emit", stop_in_the_teacher)
    assert train_run(config, folder, device="cpu") == "interrupted"
    monkeypatch.undo()
    assert not (folder / "checkpoints" / "last.safetensors").exists()
    assert train_run(None, folder, resume=True, device="cpu") == "completed"
    first, second = (load_checkpoint(f / "checkpoints" / "last.safetensors") for f in (tmp_path / "whole", folder))
    assert all(torch.equal(first.model[name], second.model[name]) for name in first.model)
    assert torch.equal(first.labels["rows"], second.labels["rows"])
