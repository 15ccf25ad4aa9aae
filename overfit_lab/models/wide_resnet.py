"""Wide residual networks (Zagoruyko and Komodakis 2016, arXiv 1605.07146)."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from overfit_lab.models.preact_resnet import PreActResNet
from overfit_lab.models.spec import ModelSpec


class WideResNet(PreActResNet):
    """Zagoruyko and Komodakis' network; see :class:`overfit_lab.models.preact_resnet.PreActResNet`."""

    family = "wide-resnet"
    advice: ClassVar[dict[str, str]] = {}


def wide_resnet(spec: ModelSpec, depth: int, *, width: int, widen: int) -> nn.Module:
    """WRN-depth-widen: three stages of (depth - 4) / 6 pre-activation blocks of widths 1, 2 and 4 times width * widen.

    Args:
        depth: layers with weights, 6 n + 4.
        widen: the k of WRN-depth-k.
    """
    widths = [width * widen * 2**stage for stage in range(3)]
    blocks = [(depth - 4) // 6] * 3
    return WideResNet(spec, stem=width, widths=widths, blocks=blocks)


def wrn_28_10(spec: ModelSpec, *, width: int = 16, widen: int = 10) -> nn.Module:
    """WRN-28-10 (36.48 million parameters); ``width`` is the stem's, ``widen`` the factor on it."""
    return wide_resnet(spec, 28, width=width, widen=widen)


def wrn_34_10(spec: ModelSpec, *, width: int = 16, widen: int = 10) -> nn.Module:
    """WRN-34-10 (46.16 million parameters); ``widen=20`` is WRN-34-20."""
    return wide_resnet(spec, 34, width=width, widen=widen)


REGISTER = {"wrn-28-10": wrn_28_10, "wrn-34-10": wrn_34_10}
