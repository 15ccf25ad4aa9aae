"""Label noise, with the mask of what it touched. A function of the seed and the sample's position alone."""

from __future__ import annotations

import torch
from torch import Tensor

from overfit_lab.config import NoiseConfig
from overfit_lab.seeds import derive_generator


def corrupt(
    y: Tensor, config: NoiseConfig, *, n_classes: int, seed: int, confusions: dict[int, int] | None = None
) -> tuple[Tensor, Tensor]:
    """Noisy labels and the mask of the labels that noise was applied to.

    - ``symmetric`` eta (SGLR): with probability eta a label is drawn anew from all K classes, so that a share
      eta (1 - 1/K) really differs; the mask marks every label drawn anew.
    - ``symmetric-flip`` eta: an exact share eta, rounded, moves to one of the K - 1 other classes.
    - ``asymmetric`` eta: with probability eta a label moves to the class that its own is confused with.

    Args:
        y: true labels (N,) int64.
        config: kind and rate.
        confusions: class to class for asymmetric noise; classes not in it stay and are not marked. None is k to k+1.

    Returns:
        Labels (N,) and mask (N,) bool, both new.
    """
    n = len(y)
    stream = derive_generator(seed, "label-noise", config.kind)
    if config.kind == "none" or config.rate == 0:
        return y.clone(), torch.zeros(n, dtype=torch.bool)
    if config.kind == "symmetric-flip":
        mask = torch.zeros(n, dtype=torch.bool)
        mask[torch.randperm(n, generator=stream)[: round(config.rate * n)]] = True
        shift = torch.randint(1, n_classes, (n,), generator=stream)
        return torch.where(mask, (y + shift) % n_classes, y), mask
    mask = torch.rand(n, generator=stream) < config.rate
    if config.kind == "symmetric":
        return torch.where(mask, torch.randint(n_classes, (n,), generator=stream), y), mask
    table = torch.arange(n_classes)
    moves = confusions if confusions is not None else {k: (k + 1) % n_classes for k in range(n_classes)}
    for source, goal in moves.items():
        table[source] = goal
    mask &= table[y] != y
    return torch.where(mask, table[y], y), mask
