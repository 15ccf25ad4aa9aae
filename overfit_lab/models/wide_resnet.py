"""Wide residual networks (Zagoruyko and Komodakis 2016, arXiv 1605.07146)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from overfit_lab.models.normalize import Normalize
from overfit_lab.models.preact_resnet import PreActBlock


class WideResNet(nn.Module):
    """A stem of ``width`` channels and three stages of pre-activation blocks of widths 1, 2 and 4 times
    ``width * widen``; (depth - 4) / 6 blocks each; final batch norm, ReLU, pooling, linear.

    Weights are drawn as torch draws them.

    Args:
        n_classes: K.
        depth: layers with weights, 6 n + 4.
        shape: shape of an image (C, H, W).
        mean: mean of each channel.
        std: standard deviation of each channel.
        width: channels of the stem.
        widen: the k of WRN-depth-k.
    """

    penultimate = "linear"

    def __init__(
        self,
        n_classes: int,
        depth: int,
        *,
        shape: tuple[int, int, int],
        mean: Sequence[float],
        std: Sequence[float],
        width: int,
        widen: int,
    ) -> None:
        super().__init__()
        self.normalize = Normalize(mean, std)
        self.conv1 = nn.Conv2d(shape[0], width, 3, padding=1, bias=False)
        stages: list[nn.Module] = []
        n_in = width
        for stage in range(3):
            n_out = width * widen * 2**stage
            layers = []
            for i in range((depth - 4) // 6):
                layers.append(PreActBlock(n_in, n_out, stride=2 if stage > 0 and i == 0 else 1))
                n_in = n_out
            stages.append(nn.Sequential(*layers))
        self.stages = nn.ModuleList(stages)
        self.bn = nn.BatchNorm2d(n_in)
        self.linear = nn.Linear(n_in, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W) in [0, 1]."""
        out = self.conv1(self.normalize(x))
        for stage in self.stages:
            out = stage(out)
        pooled = functional.adaptive_avg_pool2d(functional.relu(self.bn(out)), 1)
        logits: Tensor = self.linear(pooled.flatten(1))
        return logits


def wrn_28_10(
    n_classes: int,
    *,
    shape: tuple[int, int, int] = (3, 32, 32),
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    width: int = 16,
    widen: int = 10,
) -> nn.Module:
    """WRN-28-10 (36.48 million parameters); ``width`` is the stem's, ``widen`` the factor on it."""
    return WideResNet(n_classes, 28, shape=shape, mean=mean, std=std, width=width, widen=widen)


def wrn_34_10(
    n_classes: int,
    *,
    shape: tuple[int, int, int] = (3, 32, 32),
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    width: int = 16,
    widen: int = 10,
) -> nn.Module:
    """WRN-34-10 (46.16 million parameters); ``width`` is the stem's, ``widen`` the factor on it."""
    return WideResNet(n_classes, 34, shape=shape, mean=mean, std=std, width=width, widen=widen)


REGISTER = {"wrn-28-10": wrn_28_10, "wrn-34-10": wrn_34_10}
