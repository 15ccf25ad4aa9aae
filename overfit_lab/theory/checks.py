"""Checks of the theory functions' input; each refusal is one line."""

from __future__ import annotations

import torch
from torch import Tensor

from overfit_lab.errors import ConfigError

TOLERANCE = 1e-5
"""How far a distribution's sum may be from 1; float32 rows pass."""


def as_distribution(name: str, values: Tensor, n_dims: int, dim: int | tuple[int, ...]) -> Tensor:
    """The values as float64, if they are distributions along ``dim``.

    Raises:
        ConfigError: another number of axes, a negative or undefined entry, or a sum other than 1.
    """
    if values.ndim != n_dims:
        raise ConfigError(f"{name}: shape {tuple(values.shape)}, expected {n_dims} axes")
    if values.numel() == 0:
        raise ConfigError(f"{name}: shape {tuple(values.shape)}, expected at least one entry")
    values = values.double()
    if not bool((values >= 0).all()):
        raise ConfigError(f"{name}: smallest entry {values.min().item():.6g}, expected at least 0")
    sums = values.detach().sum(dim=dim).flatten()
    distance = (sums - 1).abs()
    if not bool((distance <= TOLERANCE).all()):
        raise ConfigError(f"{name}: sums to {sums[distance.argmax()].item():.6g}, expected 1")
    return values


def check_share(name: str, value: float) -> None:
    """Refuse a value outside [0, 1].

    Raises:
        ConfigError: it is outside, or not a number.
    """
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} = {value}: expected a share in [0, 1]")


def check_classes(n_classes: int) -> None:
    """Refuse fewer than two classes.

    Raises:
        ConfigError: there are fewer.
    """
    if n_classes < 2:
        raise ConfigError(f"n_classes = {n_classes}: expected at least 2")


def check_labels(logits: Tensor, y: Tensor) -> None:
    """Refuse labels that do not fit rows of K scores.

    Raises:
        ConfigError: not one label a row, not int64, or a label outside 0, ..., K - 1.
    """
    if logits.ndim != 2 or y.shape != logits.shape[:1] or y.dtype != torch.int64:
        raise ConfigError(
            f"y: {y.dtype} of shape {tuple(y.shape)} for rows of shape {tuple(logits.shape)}, expected one int64 a row"
        )
    outside = y[(y < 0) | (y >= logits.shape[1])]
    if len(outside):
        raise ConfigError(f"y: label {outside[0].item()}, expected 0 to {logits.shape[1] - 1}")
