"""The judge of robust overfitting, asked about one run's records."""

from __future__ import annotations

from overfit_lab.probes.metrics.phases import THRESHOLD, Phases, phases
from overfit_lab.probes.metrics.unimodal import Peak, peak_of
from overfit_lab.records.per_run import once_per_run
from overfit_lab.records.reader import Run
from overfit_lab.views.diagnosis.readings import decays_in, evaluations_of

SEED = 0
"""Of the simulated curves of the tests, so that a diagnosis repeats."""


@once_per_run
def phases_of(run: Run, threshold: float = THRESHOLD) -> Phases:
    """Whether a run overfits, by how much and since when; see ``metrics.phases``.

    Robust accuracy is judged, or clean accuracy for standard training (``readings.inputs_of`` says which).

    Args:
        run: with evaluations on test.
        threshold: drop of accuracy that counts.
    """
    seen = evaluations_of(run)
    return phases(
        seen.epochs,
        seen.train,
        seen.test,
        decays=decays_in(run),
        clean=seen.clean if seen.inputs == "adversarial" else None,
        n_test=seen.n_test,
        threshold=threshold,
        seed=SEED,
    )


@once_per_run
def peak_in(run: Run) -> Peak | None:
    """Where the run's accuracy is best and begins to fall, whether it does or not; see ``metrics.unimodal``."""
    seen = evaluations_of(run)
    return peak_of(seen.epochs, seen.test, SEED)


def overfits(run: Run, threshold: float = THRESHOLD) -> bool:
    """Whether overfitting is found, robust or catastrophic; False with too few evaluations."""
    return phases_of(run, threshold).overfits == 1


def onset_in(run: Run) -> float | None:
    """Epoch from which a run that overfits does so; None for any other."""
    judged = phases_of(run)
    if judged.collapse is not None:
        return judged.collapse.before
    return None if judged.peak is None else judged.peak.epoch
