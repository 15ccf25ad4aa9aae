"""Constant: what an eps schedule is by default."""

from __future__ import annotations

from overfit_lab.methods.schedules.base import Schedule


class Constant(Schedule):
    """A factor of 1 from beginning to end."""

    def factor(self, progress: float) -> float:
        """1."""
        return 1.0


REGISTER = {"constant": Constant}
