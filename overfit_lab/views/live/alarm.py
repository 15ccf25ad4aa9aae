"""When to say that a run overfits robustly, while it is being trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from overfit_lab.probes.metrics.drop import DropTest
from overfit_lab.probes.metrics.phases import THRESHOLD, Phases, phases, steps_at
from overfit_lab.probes.metrics.unimodal import LEAST

LOOKS = 3
"""Evaluations in a row at which the drop must be significant and the gap wider."""
LEVEL = 0.005
"""Significance level of the drop at each evaluation."""


@dataclass(frozen=True)
class Alert:
    """What was significant at ``LOOKS`` evaluations in a row.

    Args:
        epoch: the evaluation that completed them.
        phases: what the judge said then; its verdict is overfitting.
    """

    epoch: int
    phases: Phases

    @property
    def onset(self) -> float:
        """Epoch from which accuracy falls, as seen then."""
        if self.phases.collapse is not None:
            return self.phases.collapse.before
        return self.phases.peak.epoch if self.phases.peak is not None else float(self.epoch)


class Alarm:
    """Asks the judge about a run at every new evaluation and raises one alert when it overfits.

    The diagnosis judges a run once; the alarm does so at every evaluation, so it needs a stricter rule. At one look an
    epoch the chance of a false alarm somewhere in a run is several times the level of one look: so each look asks for a
    drop at ``LEVEL``, and the alarm for ``LOOKS`` looks in a row. docs/watch.md has the false alarms and the delay that
    this gives in simulated runs. No bound for all runs follows from it.

    An alarm that was raised stands, as that of any sequential test, unless the run is cut back to before it.

    Args:
        threshold: drop of accuracy that counts.
    """

    def __init__(self, threshold: float = THRESHOLD) -> None:
        self.alert: Alert | None = None
        self.phases: Phases | None = None
        self.threshold = threshold
        self._n_looked = 0
        self._in_a_row = 0

    def look(
        self,
        epochs: np.ndarray,
        train: np.ndarray,
        test: np.ndarray,
        decays: Sequence[float],
        clean: np.ndarray | None = None,
        n_test: int | None = None,
    ) -> Alert | None:
        """Look at every evaluation that is new, in order; so when and how often this is called makes no difference.

        Args:
            epochs: of the evaluations (n,), increasing.
            train: accuracy (n,), NaN where unknown.
            test: accuracy (n,).
            decays: epochs after which the learning rate is lowered, those to come included.
            clean: clean test accuracy (n,), NaN where unknown.
            n_test: test samples, where known.

        Returns:
            The alert, if it was raised now.

        Cost: :func:`phases`, .1 s at 100 evaluations, for the last evaluation and for each new one at which the drop is
        significant; some 5 ms for every other new one before the alert.
        """
        n = len(epochs)
        if n < self._n_looked:
            self._n_looked = self._in_a_row = 0
            self.phases = None
            if self.alert is not None and (not n or self.alert.epoch > epochs[-1]):
                self.alert = None
        before = self.alert
        for k in range(self._n_looked + 1, n + 1):
            known = None if clean is None else clean[:k]
            self._look_at(epochs[:k], train[:k], test[:k], decays, known, n_test, is_last=k == n)
        self._n_looked = n
        return self.alert if self.alert is not before else None

    def _look_at(
        self,
        epochs: np.ndarray,
        train: np.ndarray,
        test: np.ndarray,
        decays: Sequence[float],
        clean: np.ndarray | None,
        n_test: int | None,
        *,
        is_last: bool,
    ) -> None:
        seen = np.isfinite(test)
        if seen.sum() < LEAST:
            return
        falls = self.alert is None and _falls(epochs[seen], test[seen], decays)
        judged = None
        if falls or is_last:
            judged = phases(epochs, train, test, decays=decays, clean=clean, n_test=n_test, threshold=self.threshold)
        if is_last:
            self.phases = judged
        counts = judged is not None and judged.overfits == 1 and (falls or judged.collapse is not None)
        self._in_a_row = self._in_a_row + 1 if counts else 0
        if self.alert is None and self._in_a_row >= LOOKS and judged is not None:
            self.alert = Alert(int(epochs[-1]), judged)


def _falls(epochs: np.ndarray, test: np.ndarray, decays: Sequence[float]) -> bool:
    """Whether test accuracy drops at the level of one look."""
    return DropTest(test, steps_at(epochs, decays)).p(0.0) < LEVEL
