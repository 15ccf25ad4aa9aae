"""The CIFAR networks of He et al. (2015, arXiv 1512.03385, section 4.2): three stages of 16, 32 and 64 channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional

from overfit_lab.models.resnet import BasicBlock, MakeShortcut, ResNet
from overfit_lab.models.spec import ModelSpec

ShortcutKind = Literal["projection", "padding"]


class PaddedShortcut(nn.Module):
    """He et al.'s shortcut without weights (A): every other pixel, and as many channels of zeros on either side."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (n_out - n_in) // 2
        self.after = n_out - n_in - self.before

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_in, H, W) to (B, n_out, H / stride, W / stride)."""
        return functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


class CifarResNet(ResNet):
    """He et al.'s network of 6 n + 2 layers; see :class:`overfit_lab.models.resnet.ResNet`."""

    family = "cifar-resnet"
    advice: ClassVar[dict[str, str]] = {
        r"missing stages\.[12]\.0\.shortcut\.": "the file's network has no weights in its shortcuts: "
        "add --set model.shortcut=padding",
        r"unexpected stages\.[12]\.0\.shortcut\.": "the file's network has weights in its shortcuts: "
        "--set model.shortcut=projection",
    }


def make_factory(depth: int) -> Callable[..., nn.Module]:
    """The factory of one depth, 6 n + 2."""

    def factory(spec: ModelSpec, *, width: int = 16, shortcut: ShortcutKind = "projection") -> nn.Module:
        make: MakeShortcut | None = None if shortcut == "projection" else _padded
        blocks = [(depth - 2) // 6] * 3
        return CifarResNet(BasicBlock, blocks, spec, width=width, shortcut=make)

    factory.__doc__ = f"ResNet-{depth} of He et al. for CIFAR; shortcuts that change shape are 1x1 convolutions."
    return factory


def _padded(n_in: int, n_out: int, stride: int) -> nn.Module:
    return nn.Identity() if stride == 1 and n_in == n_out else PaddedShortcut(n_in, n_out, stride)


REGISTER = {f"resnet{depth}": make_factory(depth) for depth in (20, 32, 44, 56, 110)}
