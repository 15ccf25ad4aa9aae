"""The networks of Gowal et al. (2020, arXiv 2010.03593) and Rebuffi et al. (2021, arXiv 2103.01946).

They are pre-activation networks that came from TensorFlow: SiLU (swish) in place of ReLU, and strided 3x3 convolutions
that pad on the right and at the bottom alone, as TensorFlow's ``SAME`` does on images of even size.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional

from overfit_lab.models.preact_resnet import PreActResNet
from overfit_lab.models.spec import ModelSpec

Activation = Literal["silu", "relu"]
ACTIVATIONS = {"silu": functional.silu, "relu": functional.relu}


def pad_same(x: Tensor, stride: int) -> Tensor:
    """Zeros around the image for a 3x3 convolution: on all sides for stride 1, right and bottom for stride 2."""
    return functional.pad(x, (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1))


class GowalBlock(nn.Module):
    """Batch norm, activation, 3x3 convolution, twice, and a shortcut.

    Args:
        stride: of the first convolution.
        activation: ``silu`` or ``relu``.
        wide: the shortcut that changes shape is a 1x1 convolution of the first activation, as in the wide networks;
            else a 3x3 convolution of the input itself, as in the ResNet-18.
    """

    def __init__(self, n_in: int, n_out: int, stride: int, activation: Activation, *, wide: bool) -> None:
        super().__init__()
        self.stride, self.wide, self.activation = stride, wide, ACTIVATIONS[activation]
        self.bn1 = nn.BatchNorm2d(n_in)
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride=stride, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.shortcut: nn.Module | None = None
        if n_in != n_out or (stride != 1 and not wide):
            self.shortcut = nn.Conv2d(n_in, n_out, 1 if wide else 3, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_in, H, W) to (B, n_out, H / stride, W / stride)."""
        active = self.activation(self.bn1(x))
        skip = x
        if self.shortcut is not None:
            skip = self.shortcut(active if self.wide else pad_same(x, self.stride))
        out = self.conv1(pad_same(active, self.stride))
        return self.conv2(self.activation(self.bn2(out))) + skip  # type: ignore[no-any-return]


class GowalResNet(PreActResNet):
    """A pre-activation network of :class:`GowalBlock`; see :class:`overfit_lab.models.preact_resnet.PreActResNet`."""

    family = "gowal-resnet"
    advice: ClassVar[dict[str, str]] = {}


def _wide(spec: ModelSpec, depth: int, width: int, widen: int, activation: Activation) -> nn.Module:
    return GowalResNet(
        spec,
        stem=width,
        widths=[width * widen * 2**stage for stage in range(3)],
        blocks=[(depth - 4) // 6] * 3,
        block=partial(GowalBlock, activation=activation, wide=True),
        activation=ACTIVATIONS[activation],
    )


def wrn_28_10_swish(spec: ModelSpec, *, width: int = 16, widen: int = 10, activation: Activation = "silu") -> nn.Module:
    """WRN-28-10 of Gowal et al. and of RobustBench's DMWideResNet: SiLU, strides padded as TensorFlow does."""
    return _wide(spec, 28, width, widen, activation)


def wrn_34_10_swish(spec: ModelSpec, *, width: int = 16, widen: int = 10, activation: Activation = "silu") -> nn.Module:
    """WRN-34-10 of Gowal et al.; ``widen=20`` is their WRN-34-20."""
    return _wide(spec, 34, width, widen, activation)


def wrn_70_16_swish(spec: ModelSpec, *, width: int = 16, widen: int = 16, activation: Activation = "silu") -> nn.Module:
    """WRN-70-16 of Gowal et al. (266.8 million parameters)."""
    return _wide(spec, 70, width, widen, activation)


def preact_resnet18_swish(spec: ModelSpec, *, width: int = 64, activation: Activation = "silu") -> nn.Module:
    """PreAct-ResNet-18 of Rebuffi et al. and of RobustBench's DMPreActResNet: SiLU, 3x3 shortcuts."""
    return GowalResNet(
        spec,
        stem=width,
        widths=[width * 2**stage for stage in range(4)],
        blocks=(2, 2, 2, 2),
        block=partial(GowalBlock, activation=activation, wide=False),
        activation=ACTIVATIONS[activation],
    )


REGISTER = {
    "preact-resnet18-swish": preact_resnet18_swish,
    "wrn-28-10-swish": wrn_28_10_swish,
    "wrn-34-10-swish": wrn_34_10_swish,
    "wrn-70-16-swish": wrn_70_16_swish,
}
