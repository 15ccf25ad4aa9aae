"""Label noise as a transition matrix T (K, K): a row for each true class, T_yk = P(given label k | true class y)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from overfit_lab.errors import ConfigError
from overfit_lab.theory.checks import check_classes, check_share


def symmetric_noise(n_classes: int, flip: float) -> Tensor:
    """T (K, K) float64: a label moves with probability ``flip`` to one of the K - 1 others, each alike.

    Raises:
        ConfigError: fewer than two classes, or a rate outside [0, 1].
    """
    check_classes(n_classes)
    check_share("flip", flip)
    eye = torch.eye(n_classes, dtype=torch.float64)
    return (1 - flip) * eye + flip / (n_classes - 1) * (1 - eye)


def resampling_noise(n_classes: int, rate: float) -> Tensor:
    """T (K, K) float64: a label is drawn anew from all K classes with probability ``rate``; flips rate (1 - 1/K).

    Raises:
        ConfigError: fewer than two classes, or a rate outside [0, 1].
    """
    check_share("rate", rate)
    check_classes(n_classes)
    return symmetric_noise(n_classes, rate * (1 - 1 / n_classes))


def asymmetric_noise(n_classes: int, rate: float, confusions: Mapping[int, int] | None = None) -> Tensor:
    """T (K, K) float64: a label moves with probability ``rate`` to the class that its own is confused with.

    Args:
        n_classes: K.
        rate: in [0, 1].
        confusions: class to class; classes not in it stay. None is k to k+1, the last to the first.

    Raises:
        ConfigError: fewer than two classes, a rate outside [0, 1], or a class outside 0, ..., K - 1.
    """
    check_classes(n_classes)
    check_share("rate", rate)
    moves = {k: (k + 1) % n_classes for k in range(n_classes)} if confusions is None else confusions
    transition = torch.eye(n_classes, dtype=torch.float64)
    for source, goal in moves.items():
        if not (0 <= source < n_classes and 0 <= goal < n_classes):
            raise ConfigError(f"confusions: {source} to {goal}, expected classes 0 to {n_classes - 1}")
        transition[source, source] -= rate
        transition[source, goal] += rate
    return transition
