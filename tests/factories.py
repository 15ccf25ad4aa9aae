"""Small models, data and snapshots that tests share."""

import torch
from torch import nn
from torch.nn import functional

from overfit_lab.data.dataset import dataset_from_arrays
from overfit_lab.methods.attacks.pgd import PGD
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.probes.snapshot import Snapshot
from overfit_lab.records.history import MemoryHistory
from overfit_lab.records.recorder import to_records
from overfit_lab.types import Clock, Value

K = 4


class Scaled(nn.Module):
    """A network with its logits times a factor."""

    def __init__(self, model, factor):
        super().__init__()
        self.model, self.factor = model, factor

    def forward(self, x):
        return self.factor * self.model(x)


class Awkward(nn.Module):
    """In-place ReLU, dropout, batch norm, a frozen parameter and one that is never used."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3)
        self.bn = nn.BatchNorm2d(6)
        self.act = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.4)
        self.head = nn.Linear(6 * 36, K)
        self.unused = nn.Parameter(torch.ones(3))
        self.bn.bias.requires_grad_(False)

    def forward(self, x):
        return self.head(self.drop(self.act(self.bn(self.conv(x)))).flatten(1))


def awkward_model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Awkward()


def arrays(n, seed):
    stream = torch.Generator().manual_seed(seed)
    y = torch.randint(K, (n,), generator=stream)
    x = torch.randint(0, 120, (n, 1, 8, 8), generator=stream) + 30 * y.view(-1, 1, 1, 1)
    return x.to(torch.uint8), y


def overfitted(n=25):
    """The records of a run whose learning rate drops after half of its epochs and which overfits from then on."""
    stream = torch.Generator().manual_seed(0)
    records = []
    for epoch in range(1, n + 1):
        late = max(0, epoch - n // 2) / n
        noise = 0.01 * torch.randn(6, generator=stream)
        values = [Value("lr", 0.1 if epoch <= n // 2 else 0.01)]
        for field, inputs, shift in (("acc_adv", "adversarial", 0), ("acc_clean", "clean", 3)):
            level = 0.4 + 0.1 * shift
            values.append(Value(field, level + 0.6 * late + noise[shift].item(), "train", inputs, "given", 60, 0.05))
            for i, split in enumerate(("val", "test")):
                value = level - 0.4 * late + noise[shift + 1 + i].item()
                values.append(Value(field, value, split, inputs, "given", 40, 0.05))
        clock = Clock(epoch, 10 * epoch, n)
        records += to_records("training", values[:1], clock, None) + to_records("evaluation", values[1:], clock, None)
        norm = Value("full", 1 + 3 * late + noise[0].item(), "train", "adversarial", "targets", 60)
        records += to_records("gradient-norm", [norm], clock, 0.1)
    return records


def make_snapshot(model=None, *, splits=("train", "val", "test"), attack=True, reference=True, penultimate="head"):
    """Random images, a fifth of whose training labels are wrong."""
    model = model if model is not None else awkward_model()
    x, y_true = arrays(60, 0)
    y = torch.where(torch.arange(60) % 5 == 0, (y_true + 1) % K, y_true)
    parts = {"val": arrays(20, 1), "test": arrays(40, 2)}
    given = {name: part for name, part in parts.items() if name in splits}
    data = dataset_from_arrays((x, y), y_true=y_true, class_names=list("abcd"), **given)
    moved = {name: p.detach() + 0.1 for name, p in model.named_parameters()}
    return Snapshot(
        model=model,
        data=data,
        clock=Clock(epoch=3, step=30, n_epochs=3),
        attack=PGD(ThreatModel(eps=0.1), step_size=0.05, n_steps=2) if attack else None,
        reference=moved if reference else None,
        penultimate=penultimate,
        chunk=16,
        batch_size=20,
        history=MemoryHistory(25, overfitted(), {}),
    )


def informed_model():
    """The same network with a last layer fitted by least squares to val and test: it is right on more than half."""
    model = awkward_model().eval()
    snapshot = make_snapshot(model, attack=False)
    views = [snapshot.view(split, "clean") for split in ("val", "test")]
    x, y = torch.cat([view.x for view in views]), torch.cat([view.y for view in views])
    features = model.act(model.bn(model.conv(x))).flatten(1).detach()
    ridge = features.T @ features + 100 * torch.eye(features.shape[1])
    model.head.weight.data = 6 * torch.linalg.solve(ridge, features.T @ (functional.one_hot(y, K) - 1 / K)).T
    model.head.bias.data.zero_()
    return model
