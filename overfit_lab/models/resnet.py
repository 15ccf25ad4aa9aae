"""Residual networks in their CIFAR form: a 3x3 stem without pooling (He et al. 2015, arXiv 1512.03385)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional

from overfit_lab.models.spec import ModelSpec

MakeShortcut = Callable[[int, int, int], nn.Module]
"""Makes a shortcut from its channels in and out and its stride."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, each followed by batch norm, and a shortcut."""

    expansion = 1

    def __init__(self, n_in: int, n_mid: int, stride: int, shortcut: MakeShortcut | None = None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_mid, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_mid)
        self.conv2 = nn.Conv2d(n_mid, n_mid, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_mid)
        self.shortcut = (make_shortcut if shortcut is None else shortcut)(n_in, n_mid, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_in, H, W) to (B, n_mid, H / stride, W / stride)."""
        out = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, the last four times as wide, and a shortcut."""

    expansion = 4

    def __init__(self, n_in: int, n_mid: int, stride: int, shortcut: MakeShortcut | None = None) -> None:
        super().__init__()
        n_out = n_mid * self.expansion
        self.conv1 = nn.Conv2d(n_in, n_mid, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_mid)
        self.conv2 = nn.Conv2d(n_mid, n_mid, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_mid)
        self.conv3 = nn.Conv2d(n_mid, n_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(n_out)
        self.shortcut = (make_shortcut if shortcut is None else shortcut)(n_in, n_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_in, H, W) to (B, 4 n_mid, H / stride, W / stride)."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = functional.relu(self.bn2(self.conv2(out)))
        return functional.relu(self.bn3(self.conv3(out)) + self.shortcut(x))


def make_shortcut(n_in: int, n_out: int, stride: int) -> nn.Module:
    """The input itself, or a 1x1 convolution with batch norm where the shape changes."""
    if stride == 1 and n_in == n_out:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride=stride, bias=False), nn.BatchNorm2d(n_out))


class ResNet(nn.Module):
    """A 3x3 stem, stages of blocks, pooling, linear. Weights are drawn as torch draws them.

    Args:
        block: :class:`BasicBlock` or :class:`Bottleneck`.
        width: channels of the first stage; each further stage doubles them.
        shortcut: makes the shortcuts; default :func:`make_shortcut`.
    """

    penultimate = "linear"
    family = "resnet"

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        blocks: Sequence[int],
        spec: ModelSpec,
        *,
        width: int,
        shortcut: MakeShortcut | None = None,
    ) -> None:
        super().__init__()
        self.normalize = spec.normalize()
        self.conv1 = nn.Conv2d(spec.shape[0], width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        stages: list[nn.Module] = []
        n_in = width
        for stage, depth in enumerate(blocks):
            layers: list[nn.Module] = []
            for i in range(depth):
                layers.append(block(n_in, width * 2**stage, 2 if stage > 0 and i == 0 else 1, shortcut))
                n_in = width * 2**stage * block.expansion
            stages.append(nn.Sequential(*layers))
        self.stages = nn.ModuleList(stages)
        self.linear = nn.Linear(n_in, spec.n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W) in [0, 1]."""
        out = functional.relu(self.bn1(self.conv1(self.normalize(x))))
        for stage in self.stages:
            out = stage(out)
        logits: Tensor = self.linear(functional.adaptive_avg_pool2d(out, 1).flatten(1))
        return logits


def resnet18(spec: ModelSpec, *, width: int = 64) -> nn.Module:
    """ResNet-18 for 32x32 images (11.17 million parameters at width 64)."""
    return ResNet(BasicBlock, (2, 2, 2, 2), spec, width=width)


def resnet34(spec: ModelSpec, *, width: int = 64) -> nn.Module:
    """ResNet-34 for 32x32 images (21.28 million parameters at width 64)."""
    return ResNet(BasicBlock, (3, 4, 6, 3), spec, width=width)


def resnet50(spec: ModelSpec, *, width: int = 64) -> nn.Module:
    """ResNet-50 with bottlenecks for 32x32 images (23.52 million parameters at width 64)."""
    return ResNet(Bottleneck, (3, 4, 6, 3), spec, width=width)


REGISTER = {"resnet18": resnet18, "resnet34": resnet34, "resnet50": resnet50}
