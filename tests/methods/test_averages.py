"""Averaged weights of networks that draw numbers or move buffers: the same each time, and unseen by training."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from overfit_lab.methods.attacks.pgd import PGD
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.models.isolation import mode, unmoved_statistics
from overfit_lab.seeds import derive_generator
from overfit_lab.training.build import build
from overfit_lab.training.events import EventBus
from overfit_lab.training.loop import train
from overfit_lab.types import to_float
from tiny import tiny_config

CPU = torch.device("cpu")


class Restless(nn.Module):
    """Batch norm behind dropout, and spectral norm, whose vectors move at each forward pass in train mode."""

    def __init__(self, n_classes: int = 10, in_channels: int = 1):
        super().__init__()
        self.first = spectral_norm(nn.Conv2d(in_channels, 4, 3, stride=2))
        self.dropout, self.norm = nn.Dropout(0.5), nn.BatchNorm2d(4)
        self.head = nn.Linear(36, n_classes)

    def forward(self, x):
        return self.head(functional.relu(self.norm(self.dropout(self.first(x)))).flatten(1))


def session_of(*regularizers):
    config = tiny_config(
        "hard",
        epochs=3,
        model={"name": "methods.test_averages:Restless"},
        regularizers=list(regularizers),
        probes={},
        compute={"fold": False},
    )
    return build(config, CPU)


AVERAGES = [{"name": "swa", "start_epoch": 1}, {"name": "ema", "bn": "recompute"}]


@pytest.mark.parametrize("average", AVERAGES, ids=["swa", "ema"])
def test_training_does_not_see_an_average(average):
    torch.manual_seed(0)
    plain = session_of()
    train(plain, EventBus())
    torch.manual_seed(0)
    averaged = session_of(average)
    train(averaged, EventBus())
    states = (plain.model.state_dict(), averaged.model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("average", AVERAGES, ids=["swa", "ema"])
def test_averaged_weights_are_the_same_each_time(average):
    session = session_of(average)
    train(session, EventBus())
    states, streams = [], []
    for seed in (1, 2, 3):
        torch.manual_seed(seed)
        (snapshot,) = session.second_snapshots()
        states.append(snapshot.model.state_dict())
        streams.append(torch.get_rng_state())
        assert not torch.equal(snapshot.model.norm.running_mean, session.model.norm.running_mean)
        assert snapshot.model.norm.momentum == 0.1
        assert snapshot.model.norm.training is session.model.norm.training
    assert all(torch.equal(state[name], states[0][name]) for state in states for name in state)
    torch.manual_seed(3)
    assert torch.equal(torch.get_rng_state(), streams[-1])


def test_statistics_are_those_of_images_that_nothing_is_dropped_of():
    session = session_of(AVERAGES[0])
    train(session, EventBus())
    (snapshot,) = session.second_snapshots()
    model = snapshot.model.eval()
    with torch.no_grad():
        entered = model.first(to_float(session.data.splits["train"].x))
    torch.testing.assert_close(model.norm.running_mean, entered.mean((0, 2, 3)), atol=1e-5, rtol=1e-4)


def test_an_attack_in_train_mode_moves_no_buffer():
    model = Restless().train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    x, y = torch.rand(6, 1, 8, 8), torch.arange(6)
    attack = PGD(ThreatModel(), step_size=0.01, n_steps=3, bn_mode="train")
    attack(model, x, lambda z: functional.cross_entropy(z, y, reduction="none"), generator=derive_generator(0))
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    model(x)
    assert any(not torch.equal(value, before[name]) for name, value in model.named_buffers())


def test_a_buffer_that_a_graph_has_saved_can_be_held():
    """Only what was written to is written back, else the backward pass of an earlier forward pass would fail."""

    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("scale", torch.tensor(2.0))

        def forward(self, x):
            return x * self.scale

    model = Shifted().train()
    x = torch.ones(2, requires_grad=True)
    out = model(x).sum()
    with mode(model, training=True), unmoved_statistics(model):
        model(x)
    out.backward()
    assert x.grad.tolist() == [2.0, 2.0]
