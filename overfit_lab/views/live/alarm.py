"""When to say that a run overfits robustly, while it is being trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from overfit_lab.probes.metrics.phases import LEAST, WINDOW, Fall, Onset, Phases, phases

LOOKS = 3
"""Evaluations in a row at which both tests must be significant."""
LEVEL = 0.01
"""Significance level of either test at each evaluation."""


@dataclass(frozen=True)
class Alert:
    """What was significant at ``LOOKS`` evaluations in a row.

    Args:
        epoch: the evaluation that completed them.
        onset: where the gap begins to grow, as seen then.
        fall: how far test accuracy fell by then.
    """

    epoch: int
    onset: Onset
    fall: Fall


class Alarm:
    """Tests a run at every new evaluation and raises one alert when it overfits.

    The diagnosis tests a run once; the alarm applies the same tests at every evaluation, so it needs a stricter rule.

    The tests are those of :func:`~.metrics.phases.phases`, whose level holds for a single look. At one look
    an epoch the chance of a false alarm somewhere in a run is several times that: so each look asks for ``LEVEL``, and
    the alarm for ``LOOKS`` looks in a row. docs/watch.md has the false alarms and the delay that this gives in
    simulated runs. No bound for all runs follows from it.

    An alarm that was raised stands, as that of any sequential test, unless the run is cut back to before it.
    """

    def __init__(self) -> None:
        self.alert: Alert | None = None
        self.phases: Phases | None = None
        self._n_looked = 0
        self._in_a_row = 0

    def look(self, epochs: np.ndarray, train: np.ndarray, test: np.ndarray, decays: Sequence[float]) -> Alert | None:
        """Look at every evaluation that is new, in order; so when and how often this is called makes no difference.

        Args:
            epochs: of the evaluations (n,), increasing.
            train: accuracy (n,).
            test: accuracy (n,).
            decays: epochs after which the learning rate is lowered, those to come included.

        Returns:
            The alert, if it was raised now.

        Cost: :func:`phases`, some 10 ms at 100 evaluations, for the last evaluation and for each new one that is after
        the first decay, before the alert and not the best so far.
        """
        n = len(epochs)
        if n < self._n_looked:
            self._n_looked = self._in_a_row = 0
            self.phases = None
            if self.alert is not None and (not n or self.alert.epoch > epochs[-1]):
                self.alert = None
        before = self.alert
        for k in range(self._n_looked + 1, n + 1):
            if k == n or (self.alert is None and _lies_below_its_best(test[:k])):
                self._look_at(epochs[:k], train[:k], test[:k], decays)
            else:
                self._in_a_row = 0
        self._n_looked = n
        return self.alert if self.alert is not before else None

    def _look_at(self, epochs: np.ndarray, train: np.ndarray, test: np.ndarray, decays: Sequence[float]) -> None:
        if len(epochs) < LEAST:
            return
        self.phases = tests = phases(epochs, train, test, decays=decays)
        onset, fall = tests.onset, tests.fall
        if onset is None or fall is None or max(onset.p, fall.p) >= LEVEL:
            self._in_a_row = 0
            return
        self._in_a_row += 1
        if self.alert is None and self._in_a_row >= LOOKS:
            self.alert = Alert(int(epochs[-1]), onset, fall)


def _lies_below_its_best(test: np.ndarray) -> bool:
    """Whether the mean of the last ``WINDOW`` evaluations is not the largest; else the test for a fall gives p = 1."""
    if len(test) < WINDOW:
        return False
    means = np.convolve(test, np.full(WINDOW, 1 / WINDOW), "valid")
    return bool(means[-1] < means.max())
