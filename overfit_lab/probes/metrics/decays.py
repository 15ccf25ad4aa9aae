"""Where a learning rate was lowered in a step."""

from __future__ import annotations

import numpy as np

LEAST_FALL = 0.1
"""A step lowers the rate by at least this share."""
SMOOTH = 3
"""With fewer epochs than that at one rate, on the mean, a schedule has no steps: it falls smoothly, or by rounding."""


def decays_of(epochs: np.ndarray, lr: np.ndarray) -> list[float]:
    """Epochs after which a learning rate that had been constant fell by a step; none for a smooth schedule.

    Args:
        epochs: (n,), increasing.
        lr: of each (n,).
    """
    lr = np.asarray(lr, dtype=float)
    if len(lr) < 3:
        return []
    same = np.isclose(lr[1:], lr[:-1], rtol=1e-6, atol=0)
    if len(lr) < SMOOTH * (1 + (~same).sum()):
        return []
    steps = same[:-1] & ~same[1:] & (lr[2:] <= (1 - LEAST_FALL) * lr[1:-1])
    return [float(epoch) for epoch in np.asarray(epochs)[1:-1][steps]]
