"""Square under l_2 on images of any size (Andriushchenko et al. 2020, arXiv 1912.00049, Alg. 3).

The library lays its first tiles on a fifth of the height, from a margin on; where they reach over the edge, or a fifth
of the height is no pixel, it fails. Here tiles begin in the corner and are cut off at the edge. Everything drawn is
drawn as the library draws it, so that both agree to rounding where its tiles fill the image.
"""

from __future__ import annotations

import math

import torch
from pyautoattack.square import SquareAttack
from torch import Tensor


def tiles_fit(height: int, width: int) -> bool:
    """Whether the library's first tiles lie within such images."""
    side = height // 5
    margin = (height - 5 * side) // 2
    return side == 1 or (side > 1 and all(margin + length // side * side <= length for length in (height, width)))


@torch.no_grad()
def search(attack: SquareAttack, x: Tensor, y: Tensor) -> Tensor:
    """The best images (B, C, H, W) that the search comes to.

    Args:
        attack: the library's, with its hyperparameters set.
        x: images that the model has right.

    Cost: a forward pass for each query, of the images that are still right.
    """
    best = (x + attack.normalize(_tiles(attack, x)) * attack.eps).clamp(0, 1)
    margin, loss = attack.margin_and_loss(best, y)
    for query in range(attack.n_queries):
        left = (margin > 0).nonzero().flatten()
        if len(left) == 0:
            break
        candidate = _candidate(attack, x[left], best[left], query)
        new_margin, new_loss = attack.margin_and_loss(candidate, y[left])
        lower = new_loss < loss[left]
        taken = lower | (new_margin <= 0)
        best[left[taken]] = candidate[taken]
        margin[left[taken]] = new_margin[taken]
        loss[left[lower]] = new_loss[lower]
    return best


def _tiles(attack: SquareAttack, x: Tensor) -> Tensor:
    """The first perturbation: tiles of random sign on the whole image, cut off at its lower and right edge."""
    n, channels, height, width = x.shape
    side = max(height // 5, 1)
    delta = torch.zeros_like(x)
    for top in range(0, height, side):
        for left in range(0, width, side):
            tile = attack.eta(side)[: height - top, : width - left]
            delta[:, :, top : top + side, left : left + side] = tile * attack.random_choice([n, channels, 1, 1])
    return delta


def _candidate(attack: SquareAttack, x: Tensor, best: Tensor, query: int) -> Tensor:
    """The best images with one window drawn anew, with what another window and the ball leave of the length."""
    n, channels, height, width = x.shape
    share = attack.p_selection(query)
    side = max(round(math.sqrt(share * height * width)), 3)
    side = min(side + (side % 2 == 0), height, width)
    drawn, emptied = (_window(attack, side, height, width) for _ in range(2))
    delta = best - x
    inside = torch.zeros_like(x)
    inside[drawn], inside[emptied] = 1.0, 1.0
    spare = (attack.eps**2 - attack.lp_norm(delta) ** 2).clamp_min(0) / channels
    length = (spare + _length(delta * inside) ** 2).sqrt()
    patch = attack.eta(side) * attack.random_choice([n, channels, 1, 1])
    patch = patch + delta[drawn] / (1e-12 + _length(delta[drawn]))
    delta[emptied] = 0.0
    delta[drawn] = patch / (1e-12 + _length(patch)) * length
    return (x + attack.normalize(delta) * attack.eps).clamp(0, 1)


def _window(attack: SquareAttack, side: int, height: int, width: int) -> tuple[slice, ...]:
    """A square window anywhere in the image, of all samples and channels."""
    top, left = (int(attack.random_int(0, length - side)) for length in (height, width))
    return slice(None), slice(None), slice(top, top + side), slice(left, left + side)


def _length(values: Tensor) -> Tensor:
    """Euclidean norm of each channel (B, C, 1, 1)."""
    return (values**2).sum(dim=(-2, -1), keepdim=True).sqrt()
