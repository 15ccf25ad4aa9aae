"""One step of PGD-10 adversarial training at equal work: the same start, the same attack, the same update."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from harness import Bar, Result, Row, take_turns
from setting import Setting, flops, images, network
from torch import Tensor, nn
from torch.nn import functional

from overfit_lab.methods.attacks.losses import CrossEntropy
from overfit_lab.methods.attacks.pgd import PGD
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.models.compute.folded import folded
from overfit_lab.models.compute.work import training_flops

EPS, STEP, STEPS = 8 / 255, 2 / 255, 10


def naive_attack(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """PGD as loops in papers' code often write it: the gradient of everything, clamps by elementwise extremes, after
    the manner of Rice et al. (2020).
    """
    delta = torch.empty_like(x).uniform_(-EPS, EPS)
    delta.data = torch.max(torch.min(1 - x, delta.data), 0 - x)
    delta.requires_grad = True
    for _ in range(STEPS):
        loss = functional.cross_entropy(model(x + delta), y)
        loss.backward()
        moved = torch.clamp(delta.data + STEP * torch.sign(delta.grad), -EPS, EPS)
        delta.data = torch.max(torch.min(1 - x, moved), 0 - x)
        delta.grad.zero_()
    return (x + delta).detach()


def torchattacks_attack(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """torchattacks' PGD."""
    import torchattacks

    return torchattacks.PGD(model, eps=EPS, alpha=STEP, steps=STEPS, random_start=True)(x, y)


def our_attack(fold: bool) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """Our PGD on the model, or on its folded network."""
    attack = PGD(ThreatModel(eps=EPS), step_size=STEP, n_steps=STEPS, fold=fold)
    return lambda model, x, y: attack(model, x, CrossEntropy(y), generator=torch.Generator().manual_seed(0))


class Trainer:
    """A model of its own with an optimiser, and how it makes a step."""

    def __init__(self, model: nn.Module, attack: Callable[[nn.Module, Tensor, Tensor], Tensor], *, naive: bool = False):
        self.model, self.attack, self.naive = copy.deepcopy(model).train(), attack, naive
        if naive:
            self.model = self.model.to(memory_format=torch.contiguous_format)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4)

    def step(self, x: Tensor, y: Tensor) -> float:
        """Attack, forward, backward, update; the loss."""
        x_adv = self.attack(self.model, x, y)
        loss = functional.cross_entropy(self.model(x_adv), y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.naive:  # such loops also look at the clean images in train mode, for the log
            functional.cross_entropy(self.model(x), y).item()
        return loss.item()


def wide(setting: Setting) -> list[Row]:
    """The same step at the paper's width, where convolutions come nearer to the machine's rate; one turn each."""
    batch = setting.size(128, 2)
    model = network(64, steps=0)
    x, y = images(batch)
    work = training_flops(flops(model), n_images=batch, attack_steps=STEPS) / 1e9
    trainers = {
        "torchattacks PGD + plain step, width 64": Trainer(model, torchattacks_attack),
        "ours, folded, width 64": Trainer(model, our_attack(fold=True)),
    }
    times = take_turns({name: lambda t=t: t.step(x, y) for name, t in trainers.items()}, rounds=1, warm=False)
    return [
        Row(
            name,
            {"seconds": seconds, "GFLOP/s": work / seconds}
            | {f"share of {kind}'s rate": work / seconds / rate for kind, rate in setting.rates.items()},
        )
        for name, seconds in times.items()
    ]


def measure(setting: Setting) -> Result:
    """Seconds a step, and how near to the machine's rate of matrix products."""
    batch, width = setting.size(128, 8), 16
    model = network(width, steps=setting.size(15, 1))
    x, y = images(batch)
    work = training_flops(flops(model), n_images=batch, attack_steps=STEPS) / 1e9
    trainers = {
        "naive loop (manner of Rice20)": Trainer(model, naive_attack, naive=True),
        "torchattacks PGD + plain step": Trainer(model, torchattacks_attack),
        "ours, not folded": Trainer(model, our_attack(fold=False)),
        "ours, folded": Trainer(model, our_attack(fold=True)),
        "ours, folded and compiled": Trainer(model, our_attack(fold=True)),
    }
    twin = folded(trainers["ours, folded and compiled"].model, x)
    twin.compile(batch)
    times = take_turns({name: lambda t=t: t.step(x, y) for name, t in trainers.items()}, setting.size(5, 1))
    rows = []
    for name, seconds in times.items():
        shares = {f"share of {kind}'s rate": work / seconds / rate for kind, rate in setting.rates.items()}
        rows.append(Row(name, {"seconds": seconds, "GFLOP/s": work / seconds} | shares))
    best = min(times["ours, folded"], times["ours, folded and compiled"])
    bars = [
        Bar("faster than the naive loop, times", times["naive loop (manner of Rice20)"] / best, 2.2),
        Bar("faster than torchattacks and a plain step, times", times["torchattacks PGD + plain step"] / best, 1.3),
        *(Bar(f"share of {kind}'s matrix rate", work / best / rate, 0.75) for kind, rate in setting.rates.items()),
    ]
    rows += wide(setting)
    title = f"One PGD-10 training step, PreAct-ResNet-18 width {width}, batch {batch}, 32x32"
    return Result(title, rows, bars)
