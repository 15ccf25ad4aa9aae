"""Catastrophic overfitting: robust accuracy that collapses within an evaluation or two and stays down."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEFT = 0.5
"""Share of the accuracy before, at most, that a collapse leaves."""
LEAST_LOST = 0.1
"""Accuracy that a collapse takes at least."""
WITHIN = 2
"""Evaluations within which it happens."""
BEFORE = 3
"""Evaluations whose median is the accuracy before."""


@dataclass(frozen=True)
class Collapse:
    """Where robust accuracy collapsed.

    Args:
        before: epoch of the last evaluation before it.
        epoch: of the first evaluation after it.
        accuracy: robust test accuracy before, in [0, 1].
        left: at the end of the run.
    """

    before: float
    epoch: float
    accuracy: float
    left: float


def collapse_of(epochs: np.ndarray, robust: np.ndarray, clean: np.ndarray | None = None) -> Collapse | None:
    """Catastrophic overfitting (Wong, Rice & Kolter 2020, arXiv 2001.03994), where the run has not recovered from it.

    Args:
        epochs: (n,), increasing.
        robust: test accuracy under an attack stronger than that of training (n,).
        clean: test accuracy (n,), NaN where unknown: where it collapses too, training diverged, and that is another
            matter.

    Returns:
        The collapse; None without one, and for fewer than two evaluations after it.
    """
    n = len(robust)
    for i in range(BEFORE - 1, n - 2):
        level = float(np.median(robust[i - BEFORE + 1 : i + 1]))
        limit = min(LEFT * level, level - LEAST_LOST)
        down = np.flatnonzero(robust[i + 1 : i + 1 + WITHIN] <= limit)
        if not len(down) or robust[i] <= limit:
            continue
        first = i + 1 + int(down[0])
        if n - first < 2 or np.median(robust[first:]) > limit or np.max(robust[-2:]) > limit:
            continue
        if clean is not None and np.isfinite(clean[[i, -1]]).all() and clean[-1] <= LEFT * clean[i]:
            continue
        last = first - 1 if robust[first - 1] > (level + limit) / 2 else i
        return Collapse(float(epochs[last]), float(epochs[first]), level, float(np.mean(robust[-2:])))
    return None
