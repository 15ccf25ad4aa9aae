"""Runs in, a diagnosis out."""

from __future__ import annotations

from collections.abc import Sequence

from overfit_lab.catalog import FINDINGS
from overfit_lab.diagnosis.finding import Diagnosis
from overfit_lab.runs.reader import Run


def diagnose(runs: Sequence[Run]) -> Diagnosis:
    """What the records of some runs say about robust overfitting.

    Args:
        runs: any runs; seeds of one experiment are judged together.
    """
    raise NotImplementedError(f"{len(runs)} runs, {len(FINDINGS)} kinds of findings")
