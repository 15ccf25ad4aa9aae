"""The free live reading of IIW: the steps' own gradients along d, squared, averaged, times n."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from overfit_lab.monitor.monitor import Monitor
from overfit_lab.records.reader import Run
from overfit_lab.training.build import build
from overfit_lab.training.events import EpochEnded, EventBus, GradientsReady, StepEnded
from overfit_lab.training.information import InformationTally
from overfit_lab.training.loop import train
from overfit_lab.training.run import train_run
from tiny import tiny_config


def float64_slope(model, reference):
    return sum(
        ((p.double() - reference[name].double()) * p.grad.double()).sum().item()
        for name, p in model.named_parameters()
        if p.grad is not None
    )


@pytest.mark.parametrize("regularizers", [[], ["awp"]])
def test_a_run_records_n_times_the_mean_square_of_the_slopes_of_its_steps(regularizers):
    session = build(tiny_config(epochs=2, regularizers=regularizers, probes={}), torch.device("cpu"))
    before = {name: tensor.clone() for name, tensor in session.reference.items()}
    bus, slopes, found = EventBus(), {0: [], 1: []}, {}
    bus.on(GradientsReady, lambda e: slopes[e.clock.epoch].append(float64_slope(e.model, session.reference)))
    bus.on(EpochEnded, lambda e: found.update({e.snapshot.clock.epoch - 1: {v.field: v for v in e.values}}))
    train(session, bus)
    for epoch, own in slopes.items():
        squares = 96 * torch.tensor(own, dtype=torch.float64).square()
        value = found[epoch]["iiw_pib_minibatch"]
        assert value.value == pytest.approx(squares.mean().item(), rel=1e-5)
        assert value.stderr == pytest.approx(squares.std().item() / math.sqrt(len(own)), rel=1e-5)
        assert (value.n, value.split, value.inputs, value.labels) == (96, "train", "", "targets")
        assert found[epoch]["slope_minibatch"].value == pytest.approx(sum(own) / len(own), rel=1e-5)
    assert slopes[0][0] == 0  # the first step starts at theta_0
    assert found[1]["iiw_pib_minibatch"].value > 0
    assert all(torch.equal(before[name], session.reference[name]) for name in before)


def test_a_run_that_was_stopped_goes_on_with_the_same_readings(tmp_path):
    config = tiny_config(epochs=3, probes={})
    train_run(config, tmp_path / "whole", device="cpu")
    bus = EventBus()

    def stop(event):
        if event.clock.step == 4:
            raise KeyboardInterrupt

    bus.on(StepEnded, stop)
    assert train_run(config, tmp_path / "stopped", device="cpu", bus=bus) == "interrupted"
    assert train_run(None, tmp_path / "stopped", device="cpu", resume=True) == "completed"
    for field in ("iiw_pib_minibatch", "slope_minibatch"):
        first, second = (Run.open(tmp_path / name).series("training", field) for name in ("whole", "stopped"))
        assert len(first) == 3
        assert first["value"].tolist() == second["value"].tolist()
        assert first["stderr"].tolist() == second["stderr"].tolist()


def test_a_plain_loop_has_it_too():
    stream = torch.Generator().manual_seed(0)
    x = torch.randint(256, (40, 1, 2, 2), generator=stream, dtype=torch.uint8)
    y = torch.randint(3, (40,), generator=stream)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    model[1].weight.data = torch.randn(3, 4, generator=stream)
    monitor = Monitor(model, (x, y), probes=[])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    for _ in range(2):
        slopes = []
        for part in torch.arange(40).split(10):
            optimizer.zero_grad()
            functional.cross_entropy(model(x[part] / 255), y[part]).backward()
            slopes.append(float64_slope(model, monitor.reference))
            monitor.gradients_ready()
            optimizer.step()
        monitor.epoch_ended()
        records = monitor.records
        row = records[records["field"] == "iiw_pib_minibatch"].iloc[-1]
        assert row["value"] == pytest.approx(40 * sum(s * s for s in slopes) / 4, rel=1e-5)


def test_it_touches_neither_weights_nor_gradients_and_reads_nothing_back():
    """No number leaves the device in a step: on the meta device, which has none, every step goes through."""
    model = nn.Linear(3, 2)
    model(torch.ones(1, 3)).sum().backward()
    weights, gradients = ([t.detach().clone() for t in part] for part in zip(*_pairs(model), strict=True))
    tally = InformationTally({name: torch.zeros_like(p) for name, p in model.named_parameters()})
    tally.add(model, 1)
    for (p, g), weight, gradient in zip(_pairs(model), weights, gradients, strict=True):
        assert torch.equal(p, weight)
        assert torch.equal(g, gradient)
    nowhere = nn.Linear(3, 2, device="meta")
    for p in nowhere.parameters():
        p.grad = torch.empty_like(p)
    InformationTally({name: torch.empty_like(p) for name, p in nowhere.named_parameters()}).add(nowhere, 1)


def _pairs(model):
    return [(p, p.grad) for p in model.parameters()]


def test_frozen_parameters_and_a_model_without_gradients_are_passed_over():
    model = nn.Linear(3, 2)
    tally = InformationTally({name: torch.zeros_like(p) for name, p in model.named_parameters()})
    tally.add(model, 5)
    assert tally.values(10) == []
    model.bias.requires_grad_(False)
    model(torch.ones(1, 3)).sum().backward()
    tally.add(model, 5)
    (value, slope) = tally.values(10)
    expected = (model.weight.detach() * torch.ones(2, 3)).sum().item()
    assert slope.value == pytest.approx(expected, rel=1e-6)
    assert value.value == pytest.approx(10 * expected**2, rel=1e-5)
    assert value.stderr is None
