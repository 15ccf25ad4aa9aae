"""A multilayer perceptron with batch norm, for images as small as the digits."""

from __future__ import annotations

import math

from torch import Tensor, nn

from overfit_lab.models.spec import ModelSpec


class MLP(nn.Module):
    """``depth`` times Linear, batch norm, ReLU; then a linear layer to the logits.

    Weights are drawn as torch draws them for linear layers.
    """

    penultimate = "linear"

    def __init__(self, spec: ModelSpec, *, hidden: int = 256, depth: int = 2) -> None:
        super().__init__()
        self.normalize = spec.normalize()
        layers: list[nn.Module] = []
        width = math.prod(spec.shape)
        for _ in range(depth):
            layers += [nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU()]
            width = hidden
        self.layers = nn.Sequential(*layers)
        self.linear = nn.Linear(width, spec.n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W)."""
        logits: Tensor = self.linear(self.layers(self.normalize(x).flatten(1)))
        return logits


def mlp(spec: ModelSpec, *, hidden: int = 256, depth: int = 2) -> nn.Module:
    """A multilayer perceptron: ``depth`` hidden layers of ``hidden`` units with batch norm."""
    return MLP(spec, hidden=hidden, depth=depth)


REGISTER = {"mlp": mlp}
