"""A multilayer perceptron with batch norm, for images as small as the digits."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from overfit_lab.models.normalize import Normalize


class MLP(nn.Module):
    """``depth`` times Linear, batch norm, ReLU; then a linear layer to the logits.

    Weights are drawn as torch draws them for linear layers.

    Args:
        n_classes: K.
        shape: shape of an image (C, H, W).
        mean: mean of each channel.
        std: standard deviation of each channel.
        hidden: width of each hidden layer.
        depth: number of hidden layers.
    """

    penultimate = "linear"

    def __init__(
        self,
        n_classes: int,
        *,
        shape: tuple[int, int, int],
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        hidden: int = 256,
        depth: int = 2,
    ) -> None:
        super().__init__()
        self.normalize = Normalize(mean, std)
        layers: list[nn.Module] = []
        width = math.prod(shape)
        for _ in range(depth):
            layers += [nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU()]
            width = hidden
        self.layers = nn.Sequential(*layers)
        self.linear = nn.Linear(width, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W)."""
        logits: Tensor = self.linear(self.layers(self.normalize(x).flatten(1)))
        return logits


def mlp(
    n_classes: int,
    *,
    shape: tuple[int, int, int],
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    hidden: int = 256,
    depth: int = 2,
) -> nn.Module:
    """A multilayer perceptron: ``depth`` hidden layers of ``hidden`` units with batch norm."""
    return MLP(n_classes, shape=shape, mean=mean, std=std, hidden=hidden, depth=depth)


REGISTER = {"mlp": mlp}
