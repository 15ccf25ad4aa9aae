"""What the tests of trainers share: digits, a small network, and a plain loop with the same updates."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from overfit_lab.records.reader import Run

PROBES = ["gradient-norm", "iiw", "calibration"]
EPOCHS, BATCH = 2, 50


def digits(n=200):
    images, y = load_digits(return_X_y=True)
    x = torch.tensor(images / 16 * 255).round().to(torch.uint8).view(-1, 1, 8, 8)
    y = torch.tensor(y)
    return (x[:n], y[:n]), (x[n : n + 80], y[n : n + 80])


def net():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(inplace=True), nn.Linear(16, 10)]
        return nn.Sequential(*layers)


def as_floats(pair):
    return torch.utils.data.TensorDataset(pair[0].float() / 255, pair[1])


def plain(model, train, monitor, *, logits=lambda model, x: model(x), epochs=EPOCHS, accumulate=1, lr=0.1):
    """The updates that a trainer makes without shuffling."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=lr)
    x, y = train[0].float() / 255, train[1]
    for _ in range(epochs):
        model.train()
        for i, at in enumerate(torch.arange(len(y)).split(BATCH)):
            loss = functional.cross_entropy(logits(model, x[at]), y[at])
            (loss / accumulate).backward()
            monitor.loss_known(loss, len(at))
            if (i + 1) % accumulate == 0:
                monitor.gradients_ready(n=len(at) * accumulate)
                optimizer.step()
                optimizer.zero_grad()
        monitor.epoch_ended()
    monitor.close()
    return model


def assert_same_records(found, expected, *, but=(), tolerance=1e-5):
    """The same rows with values equal to rounding; ``but`` are fields that only the second has."""
    expected = expected[~expected["field"].isin(but)]
    keys = ["epoch", "step", "probe", "field", "split", "inputs", "labels", "n"]
    a, b = (frame.sort_values(keys, ignore_index=True) for frame in (found, expected))
    assert a[keys].values.tolist() == b[keys].values.tolist()
    for column in ("value", "stderr"):
        x, y = (torch.tensor(frame[column].astype(float).values) for frame in (a, b))
        torch.testing.assert_close(x, y, rtol=tolerance, atol=1e-6, equal_nan=True)


def assert_same_weights(a, b):
    for name, value in a.state_dict().items():
        assert torch.equal(value, b.state_dict()[name]), name


def with_batches(monitor, train):
    """The plain loop, with its logits shown to the monitor."""
    model, x, y = monitor.model, train[0].float() / 255, train[1]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(EPOCHS):
        model.train()
        for at in torch.arange(len(y)).split(BATCH):
            logits = model(x[at])
            optimizer.zero_grad()
            functional.cross_entropy(logits, y[at]).backward()
            monitor.batch(at, logits, y[at])
            optimizer.step()
        monitor.epoch_ended()
    monitor.close()


def same_dynamics(a, b):
    """The views of two folders, whose dynamics are the same to rounding."""
    one, two = Run.open(a).dynamics, Run.open(b).dynamics
    assert list(one) == list(two)
    for view in one:
        assert one[view].epochs == two[view].epochs
        for name in ("loss", "margin", "probability", "distance"):
            x, y = (torch.tensor(getattr(found[view], name).astype("f4")) for found in (one, two))
            torch.testing.assert_close(x, y, rtol=2e-3, atol=1e-4)
        assert (one[view].predicted == two[view].predicted).mean() > 0.99
    return list(one)
