"""The judge of robust overfitting, asked about one run's records."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from overfit_lab.probes.metrics.phases import THRESHOLD, Phases, phases
from overfit_lab.probes.metrics.unimodal import Peak, peak_of
from overfit_lab.records.per_run import once_per_run
from overfit_lab.records.reader import Run
from overfit_lab.views.diagnosis.readings import decays_in, evaluations_of

SEED = 0
"""Of the simulated curves of the tests, so that a diagnosis repeats."""


_least: ContextVar[float] = ContextVar("least drop", default=THRESHOLD)


@contextmanager
def counting_from(threshold: float) -> Iterator[None]:
    """Inside, a drop of accuracy counts from ``threshold`` on, for whoever asks without saying more, as figures do."""
    token = _least.set(threshold)
    try:
        yield
    finally:
        _least.reset(token)


def phases_of(run: Run, threshold: float | None = None) -> Phases:
    """Whether a run overfits, by how much and since when; see ``metrics.phases``.

    Robust accuracy is judged, or clean accuracy for standard training (``readings.inputs_of`` says which).

    Args:
        run: with evaluations on test.
        threshold: drop of accuracy that counts; None: that of :func:`counting_from`.
    """
    return _judged(run, _least.get() if threshold is None else threshold)


@once_per_run
def _judged(run: Run, threshold: float) -> Phases:
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


def overfits(run: Run, threshold: float | None = None) -> bool:
    """Whether overfitting is found, robust or catastrophic; False with too few evaluations."""
    return phases_of(run, threshold).overfits == 1


def onset_in(run: Run) -> float | None:
    """Epoch from which a run that overfits does so; None for any other."""
    judged = phases_of(run)
    if judged.collapse is not None:
        return judged.collapse.before
    return None if judged.peak is None else judged.peak.epoch
