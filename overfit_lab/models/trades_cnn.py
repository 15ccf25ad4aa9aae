"""The network for MNIST of TRADES (Zhang et al. 2019, arXiv 1901.08573), from Carlini and Wagner (2017)."""

from __future__ import annotations

from torch import Tensor, nn

from overfit_lab.models.spec import ModelSpec


class TradesCNN(nn.Module):
    """Four 3x3 convolutions without padding, pooling after the second and the fourth; two hidden layers; linear.

    Args:
        spec: classes and images, at least 16x16.
        width: channels of the first two convolutions; the others have twice as many.
        dropout: share of the first hidden layer's units that are dropped in training.
    """

    penultimate = "linear"
    family = "trades-cnn"

    def __init__(self, spec: ModelSpec, *, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.normalize = spec.normalize()
        layers: list[nn.Module] = []
        n_in = spec.shape[0]
        for n_out in (width, 2 * width):
            layers += [nn.Conv2d(n_in, n_out, 3), nn.ReLU(), nn.Conv2d(n_out, n_out, 3), nn.ReLU(), nn.MaxPool2d(2)]
            n_in = n_out
        self.features = nn.Sequential(*layers)
        height, width_left = (((side - 4) // 2 - 4) // 2 for side in spec.shape[1:])
        if min(height, width_left) < 1:
            raise ValueError(f"images of {spec.shape[1]}x{spec.shape[2]} are too small, expected at least 16x16")
        inputs = n_in * height * width_left
        self.hidden = nn.Sequential(
            nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.linear = nn.Linear(hidden, spec.n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W) in [0, 1]."""
        logits: Tensor = self.linear(self.hidden(self.features(self.normalize(x)).flatten(1)))
        return logits


def trades_cnn(spec: ModelSpec, *, width: int = 32, hidden: int = 200, dropout: float = 0.5) -> nn.Module:
    """The small network of TRADES for MNIST: four convolutions, two hidden layers, no batch norm."""
    return TradesCNN(spec, width=width, hidden=hidden, dropout=dropout)


REGISTER = {"trades-cnn": trades_cnn}
