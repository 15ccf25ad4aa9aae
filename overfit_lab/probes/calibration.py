"""Calibration errors and reliability diagrams."""

from __future__ import annotations

import torch
from pydantic import Field as OptionField

from overfit_lab.metrics.calibration import brier, ece, mce, nll, reliability
from overfit_lab.probes.base import Field, Probe, ProbeOptions
from overfit_lab.snapshot import Snapshot
from overfit_lab.types import Measurement


class CalibrationOptions(ProbeOptions):
    """Options of the calibration probe."""

    n: int = OptionField(1000, ge=1)
    n_bins: int = OptionField(15, ge=1, description="equal-width bins of confidence")


class CalibrationProbe(Probe):
    """Expected and maximum calibration error, Brier score, negative log-likelihood, and the reliability bins.

    The calibration errors are sample values: they are biased upwards on small sets and have no standard error here.
    """

    name = "calibration"
    source = "Naeini et al. 2015; Guo et al. 2017 (arXiv 1706.04599)"
    Options = CalibrationOptions
    options: CalibrationOptions
    fields = (
        Field("ece", "expected calibration error", better="lower"),
        Field("mce", "maximum calibration error", better="lower"),
        Field("brier", "Brier score, summed over classes", better="lower"),
        Field("nll", "negative log-likelihood", unit="nats", better="lower"),
    )

    def measure(self, snapshot: Snapshot, *, generator: torch.Generator) -> Measurement:
        """Calibration on each view. Cost: nothing beyond the view's logits."""
        values, arrays = [], {}
        for view in self.views(snapshot):
            bins = reliability(view.logits, view.y, self.options.n_bins)
            score, score_error = brier(view.logits, view.y)
            likelihood, likelihood_error = nll(view.logits, view.y)
            values += [
                view.value("ece", ece(bins)),
                view.value("mce", mce(bins)),
                view.value("brier", score, stderr=score_error),
                view.value("nll", likelihood, stderr=likelihood_error),
            ]
            arrays[f"reliability-{view.split}-{view.inputs}"] = bins.table()
        return Measurement(values, arrays)


REGISTER = {"calibration": CalibrationProbe}
