"""Stratified, seeded splits and subsets."""

from __future__ import annotations

import torch
from torch import Tensor

from overfit_lab.errors import ConfigError
from overfit_lab.seeds import derive_generator


def stratified_order(y: Tensor, *, seed: int, name: str) -> Tensor:
    """A seeded order of all samples in which every prefix holds each class in proportion, to within one sample or so.

    Each class is shuffled and its samples are spread evenly over (0, 1); sorting by those places interleaves them.

    Args:
        y: labels (N,).

    Returns:
        A permutation (N,) int64.
    """
    stream = derive_generator(seed, "split", name)
    places = torch.empty(len(y), dtype=torch.float64)
    for label in y.unique().tolist():
        members = (y == label).nonzero().squeeze(1)
        shuffled = members[torch.randperm(len(members), generator=stream)]
        offset = torch.rand((), generator=stream, dtype=torch.float64)
        places[shuffled] = (torch.arange(len(members), dtype=torch.float64) + offset) / len(members)
    return places.argsort(stable=True)


def take(order: Tensor, n: int, *, key: str, pool: str) -> tuple[Tensor, Tensor]:
    """The first n of an order and the rest.

    Args:
        order: positions (N,).
        n: how many to take.
        key: the config key that asks for them, for messages.
        pool: which samples these are, for messages.

    Raises:
        ConfigError: n is above N; the message names both numbers.
    """
    if n > len(order):
        raise ConfigError(f"{key} = {n}: only {len(order)} {pool} samples are there")
    return order[:n], order[n:]


def probe_order(n: int, *, seed: int, split: str) -> Tensor:
    """The fixed order of a split of n samples, whose first ones are its probe subset; a shuffle (n,)."""
    return torch.randperm(n, generator=derive_generator(seed, "probe-order", split))
