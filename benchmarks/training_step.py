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
    """A model of its own with an optimiser, and how it makes a step.

    Args:
        attack: makes the adversarial images.
        logs: looks at the clean images in train mode too, for the log, as naive loops do.
        plain: the layout that torch's layers begin with, as where nobody asked for another.
        narrow: bfloat16 by autocast, in the attack and in the update.
    """

    def __init__(
        self,
        model: nn.Module,
        attack: Callable[[nn.Module, Tensor, Tensor], Tensor],
        *,
        logs: bool = False,
        plain: bool = False,
        narrow: bool = False,
    ):
        self.model, self.attack, self.logs, self.narrow = copy.deepcopy(model).train(), attack, logs, narrow
        if plain:
            self.model = self.model.to(memory_format=torch.contiguous_format)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4)

    def step(self, x: Tensor, y: Tensor) -> float:
        """Attack, forward, backward, update; the loss."""
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=self.narrow):
            x_adv = self.attack(self.model, x, y)
            logits = self.model(x_adv)
        loss = functional.cross_entropy(logits.float(), y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.logs:
            functional.cross_entropy(self.model(x), y).item()
        return loss.item()

    def compiled(self, x: Tensor) -> Trainer:
        """With the folded network compiled in its precision."""
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=self.narrow):
            twin = folded(self.model, x)
        twin.compile(len(x))
        return self


NAIVE, THEIRS, MAIRS = "naive loop (manner of Rice20)", "torchattacks PGD + plain step", "manner of MAIR"
PLAIN, FOLDED, COMPILED = "ours, not folded", "ours, folded (fp32)", "ours, folded and compiled (fp32)"
AUTOCAST, NARROW, NARROW_COMPILED = "ours, autocast alone", "ours, bf16", "ours, bf16, compiled"


def contenders(model: nn.Module, x: Tensor, names: tuple[str, ...]) -> dict[str, Trainer]:
    """Trainers by name, each with a copy of the model.

    MAIR (Kim 2021, github.com/Harry24k/MAIR) attacks by torchattacks' PGD and reads the loss in each step.
    """
    makers: dict[str, Callable[[], Trainer]] = {
        NAIVE: lambda: Trainer(model, naive_attack, logs=True, plain=True),
        MAIRS: lambda: Trainer(model, torchattacks_attack, plain=True),
        THEIRS: lambda: Trainer(model, torchattacks_attack),
        PLAIN: lambda: Trainer(model, our_attack(fold=False)),
        FOLDED: lambda: Trainer(model, our_attack(fold=True)),
        COMPILED: lambda: Trainer(model, our_attack(fold=True)).compiled(x),
        AUTOCAST: lambda: Trainer(model, our_attack(fold=False), narrow=True),
        NARROW: lambda: Trainer(model, our_attack(fold=True), narrow=True),
        NARROW_COMPILED: lambda: Trainer(model, our_attack(fold=True), narrow=True).compiled(x),
    }
    return {name: makers[name]() for name in names}


def narrow_rate(size: int) -> float:
    """Measured GFLOP/s of square products in bfloat16."""
    a, b = torch.rand(size, size).bfloat16(), torch.rand(size, size).bfloat16()
    seconds = take_turns({"bf16": lambda: a @ b}, rounds=15)["bf16"]
    return 2 * size**3 / seconds / 1e9


def side_by_side(
    setting: Setting, width: int, batch: int, names: tuple[str, ...], rounds: int
) -> tuple[dict[str, float], list[Row]]:
    """Seconds a step of each, in turns, and the rows; the last two rows are the work over the rates of products."""
    model = network(width, steps=setting.size(15, 1))
    x, y = images(batch)
    work = training_flops(flops(model), n_images=batch, attack_steps=STEPS) / 1e9
    trainers = contenders(model, x, names)
    times = take_turns({name: lambda t=t: t.step(x, y) for name, t in trainers.items()}, rounds)
    rates = {"fp32": max(setting.rates.values()), "bf16": narrow_rate(setting.size(1024, 256))}
    rows = []
    for name, seconds in times.items():
        precision = "bf16" if trainers[name].narrow else "fp32"
        figures = {"seconds": seconds, "GFLOP/s": work / seconds}
        figures[f"share of the {precision} rate"] = work / seconds / rates[precision]
        rows.append(Row(f"{name}, width {width}", figures))
    limits = [
        Row(f"limit: products in {precision} alone, width {width}", {"seconds": work / rate, "GFLOP/s": rate})
        for precision, rate in rates.items()
    ]
    return times, [*rows, *limits]


def measure(setting: Setting) -> Result:
    """Seconds a step, and how near to the machine's rate of matrix products."""
    batch = setting.size(128, 8)
    every = (NAIVE, MAIRS, THEIRS, PLAIN, FOLDED, COMPILED, AUTOCAST, NARROW, NARROW_COMPILED)
    times, rows = side_by_side(setting, 16, batch, every, setting.size(5, 1))
    few = (THEIRS, FOLDED, COMPILED, AUTOCAST, NARROW, NARROW_COMPILED)
    wide, more = side_by_side(setting, setting.size(64, 16), batch, few, 1)
    best = min(times[FOLDED], times[COMPILED])
    bars = [
        Bar("fp32 faster than the naive loop, times", times[NAIVE] / best, 2.2),
        Bar("fp32 faster than torchattacks and a plain step, times", times[THEIRS] / best, 1.3),
        Bar("share of the fp32 rate of products", rows[len(every)].figures["seconds"] / best, 0.75),
        Bar("bf16 faster than fp32 at width 16, times (asked of a machine with AMX)", times[FOLDED] / times[NARROW], 2),
        Bar("the same at width 64 (asked of a machine with AMX)", wide[FOLDED] / wide[NARROW], 3),
        Bar("compiled over not compiled, width 16, fp32", times[COMPILED] / times[FOLDED], 1.03, more_is_better=False),
        Bar("the same in bf16", times[NARROW_COMPILED] / times[NARROW], 1.03, more_is_better=False),
        Bar("compiled over not compiled, width 64, fp32", wide[COMPILED] / wide[FOLDED], 1.03, more_is_better=False),
        Bar("the same at width 64 in bf16", wide[NARROW_COMPILED] / wide[NARROW], 1.03, more_is_better=False),
    ]
    title = f"One PGD-10 training step, PreAct-ResNet-18, batch {batch}, 32x32"
    return Result(title, [*rows, *more], bars)
