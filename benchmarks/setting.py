"""The network and the images that all benchmarks share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from overfit_lab.models.compute.work import forward_flops
from overfit_lab.models.preact_resnet import preact_resnet18
from overfit_lab.models.spec import ModelSpec

K = 10


@dataclass(frozen=True)
class Setting:
    """How much is measured.

    Args:
        rates: measured matrix rates in GFLOP/s.
        quick: small sizes, to see that everything runs; its figures mean nothing.
    """

    rates: dict[str, float]
    quick: bool = False

    def size(self, full: int, quick: int) -> int:
        """One of two sizes."""
        return quick if self.quick else full


def images(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Made-up images of ten classes, a faint pattern each in noise: float (n, 3, 32, 32) in [0, 1], and labels."""
    stream = torch.Generator().manual_seed(seed)
    patterns = torch.rand(K, 3, 8, 8, generator=torch.Generator().manual_seed(7))
    patterns = functional.interpolate(patterns, size=32, mode="bilinear")
    y = torch.randint(K, (n,), generator=stream)
    x = 0.35 * patterns[y] + 0.65 * torch.rand(n, 3, 32, 32, generator=stream)
    return x, y


def network(width: int = 16, *, steps: int = 15, inplace: bool = False) -> nn.Module:
    """PreAct-ResNet-18 after a few steps of training on such images, in eval mode, channels last."""
    torch.manual_seed(0)
    model = preact_resnet18(ModelSpec(K), width=width).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    model.train()
    for step in range(steps):
        x, y = images(64, seed=100 + step)
        loss = functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def flops(model: nn.Module) -> int:
    """Floating-point operations of one image's forward pass."""
    return forward_flops(model, images(1)[0])
