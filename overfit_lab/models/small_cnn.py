"""A small convolutional network, for images from 8x8 up."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from overfit_lab.models.spec import ModelSpec


class SmallCNN(nn.Module):
    """Three 3x3 convolutions with batch norm and ReLU, the last two with stride 2; pooling to 2x2; linear.

    Args:
        width: channels of the first convolution; the others have twice as many.
    """

    penultimate = "linear"

    def __init__(self, spec: ModelSpec, *, width: int) -> None:
        super().__init__()
        self.normalize = spec.normalize()
        layers: list[nn.Module] = []
        n_in = spec.shape[0]
        for n_out, stride in ((width, 1), (2 * width, 2), (2 * width, 2)):
            layers += [
                nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(n_out),
                nn.ReLU(),
            ]
            n_in = n_out
        self.layers = nn.Sequential(*layers)
        self.linear = nn.Linear(4 * n_in, spec.n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W) in [0, 1]."""
        out = functional.adaptive_avg_pool2d(self.layers(self.normalize(x)), 2)
        logits: Tensor = self.linear(out.flatten(1))
        return logits


def small_cnn(spec: ModelSpec, *, width: int = 32) -> nn.Module:
    """A small convolutional network of three layers, for digits and alike."""
    return SmallCNN(spec, width=width)


REGISTER = {"small-cnn": small_cnn}
