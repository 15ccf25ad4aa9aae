"""Calibration errors and reliability diagrams."""

from __future__ import annotations

import math

import torch
from pydantic import Field as OptionField
from torch import Tensor

from overfit_lab.probes.base import Field, LogitsOptions, Probe
from overfit_lab.probes.metrics.calibration import adaptive_ece, brier, classwise_ece, ece, mce, nll, reliability
from overfit_lab.probes.metrics.temperature import fit_temperature, over_temperature, scale_crosswise
from overfit_lab.probes.snapshot import Snapshot, View
from overfit_lab.types import Measurement


class CalibrationOptions(LogitsOptions):
    """Options of the calibration probe."""

    n_bins: int = OptionField(15, ge=1, description="bins: of equal width, of equal mass for the adaptive error")


class CalibrationProbe(Probe):
    """Expected (also adaptive and classwise) and maximum calibration error, Brier score, NLL, reliability bins.

    As measured, and after temperature scaling. T is fitted on the validation split, on the same kind of inputs; where
    there is none, crosswise between the halves of the samples that are measured. Where the best T is 0 (all answers
    right) or infinite (logits that say nothing about the labels) the temperature is null, and the scaled numbers are
    those of that limit; where no T makes a difference, they are null too. The calibration errors are sample
    values: they are biased upwards on small sets and have no standard error here.
    """

    name = "calibration"
    source = "Naeini et al. 2015; Guo et al. 2017 (arXiv 1706.04599); Nixon et al. 2019; Kull et al. 2019"
    Options = CalibrationOptions
    options: CalibrationOptions
    fields = (
        Field("ece", "expected calibration error", better="lower"),
        Field("ece_adaptive", "expected calibration error over bins of equal mass", better="lower"),
        Field("ece_classwise", "mean over classes of the calibration error of the class's probability", better="lower"),
        Field("mce", "maximum calibration error", better="lower"),
        Field("brier", "Brier score, summed over classes", better="lower"),
        Field("nll", "negative log-likelihood", unit="nats", better="lower"),
        Field("ece_scaled", "expected calibration error after temperature scaling", better="lower"),
        Field("nll_scaled", "negative log-likelihood after temperature scaling", unit="nats", better="lower"),
        Field("temperature", "fitted temperature, above 1 for an overconfident model; null where none is best"),
    )

    def measure(self, snapshot: Snapshot, *, generator: torch.Generator) -> Measurement:
        """Calibration on each view. Cost: nothing beyond the logits of the view and of its validation samples."""
        values, arrays = [], {}
        for view in self.views(snapshot):
            bins = reliability(view.logits, view.y, self.options.n_bins)
            score, score_error = brier(view.logits, view.y)
            likelihood, likelihood_error = nll(view.logits, view.y)
            values += [
                view.value("ece", ece(bins)),
                view.value("ece_adaptive", adaptive_ece(view.logits, view.y, self.options.n_bins)),
                view.value("ece_classwise", classwise_ece(view.logits, view.y, self.options.n_bins)),
                view.value("mce", mce(bins)),
                view.value("brier", score, stderr=score_error),
                view.value("nll", likelihood, stderr=likelihood_error),
            ]
            arrays[f"reliability-{view.split}-{view.inputs}"] = bins.table()
            if len(view) < 2:
                continue
            scaled, temperature, n_fitted = self._scaled(snapshot, view)
            scaled_bins = reliability(scaled, view.y, self.options.n_bins)
            likelihood, likelihood_error = nll(scaled, view.y)
            values += [
                view.value("ece_scaled", ece(scaled_bins)),
                view.value("nll_scaled", likelihood, stderr=likelihood_error),
                view.value("temperature", temperature if 0 < temperature < math.inf else math.nan, n=n_fitted),
            ]
            arrays[f"reliability-scaled-{view.split}-{view.inputs}"] = scaled_bins.table()
        return Measurement(values, arrays)

    def _scaled(self, snapshot: Snapshot, view: View) -> tuple[Tensor, float, int]:
        """The view's logits over a temperature that they had no say in, the temperature, and the samples it fits."""
        if view.split == "val" or not snapshot.has_split("val"):
            return *scale_crosswise(view.logits, view.y), len(view)
        held_out = snapshot.view("val", view.inputs, self.options.n)
        temperature = fit_temperature(held_out.logits, held_out.y)
        return over_temperature(view.logits, temperature), temperature, len(held_out)


REGISTER = {"calibration": CalibrationProbe}
