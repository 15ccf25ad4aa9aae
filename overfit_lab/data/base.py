"""What a source of images gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)
CIFAR10_CONFUSIONS = {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}
"""Asymmetric noise on CIFAR-10: truck to automobile, bird to airplane, deer to horse, cat and dog to each other."""


@dataclass(frozen=True)
class RawData:
    """Images and labels as a source has them, on the CPU, before splits, noise and augmentation.

    Args:
        x_train: images (N, C, H, W) uint8.
        y_train: labels (N,) int64 in 0..K-1.
        x_test: test images, or None where the source is one pool that has still to be split.
        y_test: labels of the test images.
        class_names: one name a class.
        mean: mean of each channel in [0, 1] pixels, for normalisation inside the model.
        std: standard deviation of each channel.
        n_test: size of the test split taken from a pool, where none is asked for.
        confusions: class to class, for asymmetric label noise; None means k to k+1.
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor | None
    y_test: Tensor | None
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    n_test: int | None = None
    confusions: dict[int, int] | None = None


class Source(Protocol):
    """A function that gives a data set."""

    def __call__(self, argument: str, *, root: Path | None, download: bool) -> RawData:
        """The data set.

        Args:
            argument: what follows the colon of ``parquet:DIR``; "" without one.
            root: folder of downloaded sets; None is the default place.
            download: fetch the set if it is absent.

        Raises:
            DataUnavailableError: absent or damaged; one line that says how to get it.
        """
        ...


def confusions_of(class_names: tuple[str, ...]) -> dict[int, int] | None:
    """CIFAR-10's confusions where the classes are CIFAR-10's, wherever its images came from."""
    return dict(CIFAR10_CONFUSIONS) if class_names == CIFAR10_CLASSES else None


def statistics_of(class_names: tuple[str, ...], n_channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation to normalise with: CIFAR-10's for CIFAR-10, else 0 and 1, which is no change."""
    if class_names == CIFAR10_CLASSES and n_channels == 3:
        return CIFAR10_MEAN, CIFAR10_STD
    return (0.0,) * n_channels, (1.0,) * n_channels
