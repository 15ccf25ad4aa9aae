"""What holds for every objective that is registered, with every label mode."""

import pytest
import torch

from overfit_lab.config.catalog import LABELS, OBJECTIVES
from overfit_lab.training.build import build
from overfit_lab.training.events import EventBus
from overfit_lab.training.step import set_learning_rate, train_step
from parts import part
from tiny import tiny_config

objectives = pytest.mark.parametrize("name", list(OBJECTIVES))
modes = pytest.mark.parametrize("labels", list(LABELS))


def started(name, labels):
    config = tiny_config(labels, objective={"name": name}, probes={"metrics": []})
    return build(config, torch.device("cpu"))


@objectives
@modes
def test_trains_with_a_finite_loss_and_moves_every_weight(name, labels, teacher_run):
    session = started(name, part(LABELS, labels, teacher_run))
    before = [p.detach().clone() for p in session.model.parameters()]
    losses = []
    for batch in session.loader.epoch(0):
        set_learning_rate(session)
        losses.append(train_step(session, batch, EventBus()))
        session.optimizer.step()
    assert torch.stack(losses).isfinite().all()
    assert not any(torch.equal(a, b) for a, b in zip(before, session.model.parameters(), strict=True))


@objectives
def test_the_attacks_loss_is_one_value_a_sample_and_leaves_the_mode_alone(name):
    session = started(name, "hard")
    batch = next(iter(session.loader.epoch(0)))
    targets = session.labels.targets(batch, session.clock)
    session.model.train()
    loss = session.objective.attack_loss(session.model, batch, targets)
    assert session.model.training
    session.model.eval()
    assert loss(session.model(batch.x)).shape == batch.y.shape
    assert all(p.grad is None for p in session.model.parameters())


@objectives
def test_repeats_by_the_seed(name):
    def weights():
        session = started(name, "sglr")
        for batch in session.loader.epoch(0):
            train_step(session, batch, EventBus())
            session.optimizer.step()
        return [p.detach() for p in session.model.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(weights(), weights(), strict=True))
