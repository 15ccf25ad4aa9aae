"""Squared norms of sums of outer products, by whichever order of summation is cheaper."""

from __future__ import annotations

import torch
from torch import Tensor

from overfit_lab.probes.metrics.layer_kinds.base import CallCache
from overfit_lab.probes.metrics.pieces import gradients_at_once


def outer_squared_norm(a: Tensor, delta: Tensor, cache: CallCache) -> Tensor:
    r"""|| sum_l delta_l a_l^T ||_F^2 of each row (N,), exactly.

    Directly, by forming the sum: L O I multiplications a row. Or as sum_{l,m} <a_l, a_m> <delta_l, delta_m>, from two
    Gram matrices: L^2 I for the first, once for all deltas of a call, and L^2 O for the second ("ghost" norms:
    Goodfellow 2015, arXiv 1510.01799, for L = 1; Li et al. 2022, arXiv 2110.05679).
    ``a`` is (N, I, L), ``delta`` (N, O, L); the cache holds the inputs' Gram matrices between deltas.
    """
    size, length, out = a.shape[1], a.shape[2], delta.shape[1]
    if length == 1:
        return delta.square().sum(dim=(1, 2)) * a.square().sum(dim=(1, 2))
    piece = gradients_at_once(a.device)
    if gram_is_cheaper(size, out, length, cache.times):
        if "gram" not in cache.store:
            cache.store["gram"] = torch.cat([part.transpose(1, 2) @ part for part in a.split(piece)])
        parts = zip(cache.store["gram"].split(piece), delta.split(piece), strict=True)
        return torch.cat([((d.transpose(1, 2) @ d) * gram).sum(dim=(1, 2)) for gram, d in parts])
    parts = zip(a.split(piece), delta.split(piece), strict=True)
    return torch.cat([(d @ part.transpose(1, 2)).square().sum(dim=(1, 2)) for part, d in parts])


def gram_is_cheaper(size: int, out: int, length: int, times: int) -> bool:
    """Whether Gram matrices take fewer multiplications than the sums themselves, for ``times`` deltas."""
    return length * (size + times * out) < times * size * out
