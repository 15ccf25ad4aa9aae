"""A network of one matrix that counts how often images pass it, to rehearse a run with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from overfit_lab.methods.attacks.base import Attack, Loss, Start
from overfit_lab.sweeps.cost.data_shape import DataShape
from overfit_lab.types import Dataset, Split

N = 4
"""Images of each split of the stand-in data: one batch."""
LARGEST_SIDE = 32


class Tally:
    """Images that passed, by part of the step and kind of pass; one for a network and all its copies."""

    def __init__(self) -> None:
        self.images: Counter[tuple[str, str]] = Counter()
        self.part = "update"
        self.passing = False

    def add(self, kind: str, n: int) -> None:
        """``n`` images passed."""
        self.images[self.part, kind] += n

    @contextmanager
    def counting(self, part: str) -> Iterator[None]:
        """What passes inside belongs to that part."""
        before, self.part = self.part, part
        try:
            yield
        finally:
            self.part = before

    @contextmanager
    def in_network(self) -> Iterator[None]:
        """Operations inside are the network's."""
        self.passing = True
        try:
            yield
        finally:
            self.passing = False

    def take(self) -> dict[tuple[str, str], float]:
        """Passes an image since the last call."""
        found = {key: count / N for key, count in sorted(self.images.items())}
        self.images.clear()
        return found

    def __deepcopy__(self, memo: dict[int, Any]) -> Tally:
        return self


class Operations(TorchDispatchMode):
    """Counts operations by part, without those of the stand-in network.

    Args:
        tally: says which part it is, and whether the network is being passed.
    """

    def __init__(self, tally: Tally) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tally = tally
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count it."""
        if not self.tally.passing:
            self.calls[self.tally.part] += 1
        return func(*args, **(kwargs or {}))


class _Pass(torch.autograd.Function):
    """x w, counted on both ways."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, tally: Tally, kind: str) -> Tensor:
        tally.add(kind, len(x))
        ctx.save_for_backward(x, weight)
        ctx.tally = tally
        with tally.in_network():
            return x @ weight

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        to_image, to_weight = ctx.needs_input_grad[:2]
        ctx.tally.add("to_weights" if to_weight else "to_input", len(x))
        with ctx.tally.in_network():
            of_image = gradient @ weight.mT if to_image else None
            return of_image, x.mT @ gradient if to_weight else None, None, None


class StandIn(nn.Module):
    """Logits (B, K) of images (B, C, H, W) by one matrix; with batch norm where the run's own network has some.

    Args:
        n_classes: K.
        shape: of an image.
        norm: whether there is batch norm.
        kind: what a forward pass is counted as.
        tally: where passes are counted.
    """

    def __init__(
        self,
        n_classes: int,
        shape: tuple[int, int, int],
        norm: bool = False,
        kind: str = "forward",
        tally: Tally | None = None,
    ) -> None:
        super().__init__()
        c, h, w = shape
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(c * h * w, n_classes, generator=generator) / (c * h * w) ** 0.5)
        self.norm = nn.BatchNorm2d(c) if norm else nn.Identity()
        self.kind, self.tally = kind, tally if tally is not None else Tally()

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = _Pass.apply(self.norm(x).flatten(1), self.weight, self.tally, self.kind)
        return logits


def stand_in(n_classes: int, shape: tuple[int, int, int], norm: bool = False) -> StandIn:
    """A stand-in network with a tally of its own, as a configuration names it."""
    return StandIn(n_classes, shape, norm)


class Counted:
    """An attack whose passes are counted as the attack's.

    Args:
        attack: the attack.
        tally: where passes are counted.
    """

    adversarial: ClassVar[bool] = True
    trains: ClassVar[bool] = True

    def __init__(self, attack: Attack, tally: Tally) -> None:
        self.attack, self.tally = attack, tally
        self.threat = attack.threat

    def __call__(
        self, model: nn.Module, x: Tensor, loss: Loss, *, generator: torch.Generator, start: Start | None = None
    ) -> Tensor:
        """The attack's images."""
        with self.tally.counting("attack"):
            return self.attack(model, x, loss, generator=generator, start=start)

    def scaled(self, factor: float) -> Counted:
        """The same of a larger or smaller ball."""
        return Counted(self.attack.scaled(factor), self.tally)


def stand_in_data(shape: DataShape) -> Dataset:
    """Four images a split, of the run's channels and classes and at most 32 pixels a side."""
    c, h, w = shape.shape
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(N) % shape.n_classes
    splits = {}
    for name, size in shape.sizes.items():
        if size:
            images = torch.randint(
                0, 256, (N, c, min(h, LARGEST_SIDE), min(w, LARGEST_SIDE)), generator=generator, dtype=torch.uint8
            )
            splits[name] = Split(name, images, y, y.clone(), torch.zeros(N, dtype=torch.bool), torch.arange(N))
    return Dataset("stand-in", splits, tuple(map(str, range(shape.n_classes))), (0.0,) * c, (1.0,) * c)
