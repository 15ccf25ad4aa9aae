"""Curves that rise, that fall, and that rise and then fall, nearest to a series by weighted least squares."""

from __future__ import annotations

import numpy as np


def nearest_unimodal(series: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The curve (n,) nearest to a series that rises up to some evaluation and falls after it.

    Unimodal regression (Frisen 1986; Stout 2008). Cost: O(n^2) in the worst case, usually O(n).
    """
    return unimodal(series, weights, int(split_costs(series[None], weights)[0].argmin()))


def unimodal(series: np.ndarray, weights: np.ndarray, split: int) -> np.ndarray:
    """The curve (n,) nearest to a series that does not fall up to ``split`` (included) and does not rise after it."""
    rising = _rising(series[: split + 1], weights[: split + 1])
    return np.concatenate([rising, _rising(series[split + 1 :][::-1], weights[split + 1 :][::-1])[::-1]])


def split_costs(curves: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted squares between each curve (m, n) and :func:`unimodal` of it for each split (m, n)."""
    up = _rising_costs(curves, weights)
    down = _rising_costs(curves[:, ::-1], weights[::-1])[:, ::-1]
    return up + np.concatenate([down[:, 1:], np.zeros((len(curves), 1))], axis=1)


def _rising(series: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The non-decreasing curve nearest to a series (n,), by pooling adjacent violators."""
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(series, weights, strict=True):
        total, mass, length = value * weight, weight, 1
        while blocks and blocks[-1][0] * mass >= total * blocks[-1][1]:
            before = blocks.pop()
            total, mass, length = total + before[0], mass + before[1], length + before[2]
        blocks.append((total, mass, length))
    return np.concatenate([np.full(n, total / mass) for total, mass, n in blocks] or [np.zeros(0)])


def _rising_costs(curves: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted squares between the first i + 1 values of each curve (m, n) and their nearest non-decreasing curve.

    Pooling of adjacent violators for all curves side by side: each holds a stack of blocks, and a round merges the last
    two blocks of those curves where they are out of order. ``explained`` is what blocks take off the sum of squares.
    """
    m, n = curves.shape
    if m == 1:
        return _rising_costs_of_one(curves[0], weights)[None]
    rows, top = np.arange(m), np.full(m, -1)
    total, mass = np.zeros((m, n)), np.zeros((m, n))
    explained, costs = np.zeros(m), np.zeros((m, n))
    power = np.cumsum(weights * np.square(curves), axis=1)
    for i in range(n):
        top += 1
        total[rows, top], mass[rows, top] = weights[i] * curves[:, i], weights[i]
        explained = explained + weights[i] * np.square(curves[:, i])
        active = rows[top > 0]
        while len(active):
            last = top[active]
            a, b = total[active, last - 1], total[active, last]
            mass_a, mass_b = mass[active, last - 1], mass[active, last]
            wrong = a * mass_b >= b * mass_a
            active, last = active[wrong], last[wrong]
            a, b, mass_a, mass_b = a[wrong], b[wrong], mass_a[wrong], mass_b[wrong]
            explained[active] += (a + b) ** 2 / (mass_a + mass_b) - a * a / mass_a - b * b / mass_b
            total[active, last - 1], mass[active, last - 1] = a + b, mass_a + mass_b
            top[active] -= 1
            active = active[top[active] > 0]
        costs[:, i] = power[:, i] - explained
    return costs


def _rising_costs_of_one(curve: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The same of one curve (n,), faster."""
    blocks: list[tuple[float, float]] = []
    explained, power, costs = 0.0, 0.0, []
    for value, weight in zip(curve.tolist(), weights.tolist(), strict=True):
        total, mass = value * weight, weight
        power += total * value
        while blocks and blocks[-1][0] * mass >= total * blocks[-1][1]:
            before, old = blocks.pop()
            explained -= before * before / old
            total, mass = total + before, mass + old
        explained += total * total / mass
        blocks.append((total, mass))
        costs.append(power - explained)
    return np.array(costs)


def flattened(series: np.ndarray, curve: np.ndarray, weights: np.ndarray, worse: float) -> np.ndarray:
    """The curve with its top cut off as far down as its weighted squares grow by ``worse`` at most (bisection)."""
    allowed = float((weights * np.square(series - curve)).sum()) + worse
    low, high = float(curve.min()), float(curve.max())
    for _ in range(30):
        middle = (low + high) / 2
        cut = float((weights * np.square(series - np.minimum(curve, middle))).sum())
        low, high = (low, middle) if cut <= allowed else (middle, high)
    return np.minimum(curve, high)
