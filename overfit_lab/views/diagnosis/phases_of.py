"""The tests for robust overfitting on one run's records."""

from __future__ import annotations

from functools import lru_cache

from overfit_lab.probes.metrics.phases import Phases, phases
from overfit_lab.probes.metrics.unimodal import Peak, peak_of
from overfit_lab.records.reader import Run
from overfit_lab.views.diagnosis.readings import CACHED, decays_in, evaluations_of

SEED = 0
"""Of the simulated curves of the tests, so that a diagnosis repeats."""


@lru_cache(maxsize=CACHED)
def phases_of(run: Run) -> Phases:
    """Whether a run overfits, from when on its gap grows, and how far its accuracy fell; see ``metrics.phases``.

    Robust accuracy is judged, or clean accuracy for standard training (``readings.inputs_of`` says which). The draw of
    test samples is no noise here: every evaluation looks at the same ones.

    Args:
        run: with evaluations on train and test.
    """
    seen = evaluations_of(run)
    return phases(seen.epochs, seen.train, seen.test, decays=decays_in(run), seed=SEED)


@lru_cache(maxsize=CACHED)
def peak_in(run: Run) -> Peak | None:
    """Where the run's accuracy is best and begins to fall, whether it does or not; see ``metrics.unimodal``."""
    seen = evaluations_of(run)
    return peak_of(seen.epochs, seen.test, SEED)


def overfits(run: Run) -> bool:
    """Whether the tests detect overfitting; False with too few evaluations."""
    return phases_of(run).verdict == "robust overfitting"


def onset_in(run: Run) -> float | None:
    """Epoch from which a run that overfits does so; None for any other."""
    peak = peak_in(run) if overfits(run) else None
    return None if peak is None else peak.epoch
