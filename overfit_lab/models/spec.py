"""What a network of ours is told of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from overfit_lab.models.normalize import Normalize


@dataclass(frozen=True)
class ModelSpec:
    """Classes, images and the constants that images are normalised with.

    Args:
        shape: shape of an image (C, H, W).
        mean: mean of each channel; none: 0.
        std: standard deviation of each channel; none: 1.
    """

    n_classes: int
    shape: tuple[int, int, int] = (3, 32, 32)
    mean: Sequence[float] = ()
    std: Sequence[float] = ()

    def normalize(self) -> Normalize:
        """The layer that stands before a network's first."""
        n_channels = self.shape[0]
        return Normalize(self.mean or (0.0,) * n_channels, self.std or (1.0,) * n_channels)
