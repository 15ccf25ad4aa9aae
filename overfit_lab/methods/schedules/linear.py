"""Linear learning rate in three pieces (Rice et al. 2020)."""

from __future__ import annotations

import numpy as np

from overfit_lab.methods.schedules.base import Schedule


class Linear(Schedule):
    """1 for a third of the run, then linearly down to 0.1 at two thirds, then linearly to 0.01 at the end."""

    def factor(self, progress: float) -> float:
        """Linear between the corners."""
        n = self.n_epochs
        return float(np.interp(progress, [0, n / 3, 2 * n / 3, n], [1, 1, 0.1, 0.01]))


REGISTER = {"linear": Linear}
