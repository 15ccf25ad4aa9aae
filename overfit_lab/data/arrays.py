"""Checks a user's arrays and copies them into the form of a split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from overfit_lab.errors import ConfigError

MAX_CHANNELS = 4
HOW_TO_NORMALISE = (
    "give them as they are before normalisation, which goes inside the model: "
    "put_in_front(model, Normalize(mean, std)) of overfit_lab.models.normalize, or a Monitor's normalize=(mean, std)"
)


def images_and_labels(split: str, pair: Any, *, keep_floats: bool = False) -> tuple[Tensor, Tensor]:
    """Images (N, C, H, W) uint8 and labels (N,) int64 on the CPU, copied.

    Args:
        pair: images, uint8 or floats k/255 in [0, 1], and integer labels; numpy, torch or lists.
        keep_floats: floats in [0, 1] that are not k/255 stay, as float32, and are not refused.

    Raises:
        ConfigError: shapes, kinds or values that do not fit; one line.
    """
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise ConfigError(f"{split}: expected a pair of images and labels, got {type(pair).__name__}")
    images, labels = to_tensor(f"{split} images", pair[0]), to_tensor(f"{split} labels", pair[1])
    if images.dim() != 4 or not 1 <= images.shape[1] <= MAX_CHANNELS:
        shape = tuple(images.shape)
        raise ConfigError(
            f"{split} images have shape {shape}; expected (N, C, H, W), channels first, C at most {MAX_CHANNELS}"
        )
    if len(images) == 0:
        raise ConfigError(f"{split} images: there are none")
    if labels.shape != images.shape[:1]:
        raise ConfigError(f"{split} labels have shape {tuple(labels.shape)}; expected ({len(images)},)")
    return _to_bytes(split, images, keep_floats), class_labels(f"{split} labels", labels)


def class_labels(name: str, labels: Tensor) -> Tensor:
    """Labels as int64.

    Raises:
        ConfigError: not whole numbers of 0 or more.
    """
    lowest = labels.to(torch.float64).min().item()
    if labels.is_floating_point() or labels.is_complex() or lowest < 0:
        raise ConfigError(f"{name}: expected integers 0..K-1, got {labels.dtype} from {lowest:g}")
    return labels.to(torch.int64)


def to_tensor(name: str, values: Any) -> Tensor:
    """A copy of anything array-like as a tensor on the CPU, also of read-only and reversed arrays.

    Raises:
        ConfigError: it is no array of numbers.
    """
    if isinstance(values, Tensor):
        return values.detach().cpu().clone()
    try:
        return torch.from_numpy(np.array(values, order="C"))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name}: expected an array of numbers ({str(error).splitlines()[0]})") from error


def channel_statistics(
    mean: Sequence[float] | None, std: Sequence[float] | None, n_channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel; 0 and 1 where none are given.

    Raises:
        ConfigError: not one a channel, or a standard deviation that is not above 0.
    """
    means = (0.0,) * n_channels if mean is None else tuple(float(m) for m in mean)
    stds = (1.0,) * n_channels if std is None else tuple(float(s) for s in std)
    for name, values in (("mean", means), ("std", stds)):
        if len(values) != n_channels:
            raise ConfigError(f"{name}: {len(values)} values, expected {n_channels}, one a channel")
    if not all(s > 0 for s in stds):
        raise ConfigError(f"std = {stds}: expected numbers above 0")
    return means, stds


def _to_bytes(split: str, images: Tensor, keep_floats: bool) -> Tensor:
    """Images as uint8; floats must be k/255 to their precision, which has to tell k from k + 1 (bfloat16 does not)."""
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point():
        raise ConfigError(f"{split} images are {images.dtype}; expected uint8 in 0..255 or floats in [0, 1]")
    low, high = images.min().item(), images.max().item()
    if not (low >= 0 and high <= 1):
        raise ConfigError(f"{split} images go from {low:g} to {high:g}; expected [0, 1]; {HOW_TO_NORMALISE}")
    scaled = images.to(torch.float64) * 255
    rounded = scaled.round()
    tolerance = max(1e-3, 255 * torch.finfo(images.dtype).eps / 2)
    if tolerance > 0.25 or (rounded - scaled).abs().max() > tolerance:
        if keep_floats:
            return images.to(torch.float32)
        raise ConfigError(f"{split} images are {images.dtype} and not k/255; round them: (x * 255).round().to(uint8)")
    return rounded.to(torch.uint8)
