"""Gaps of logits, gaps of their gradients, and the perturbations that they predict and that an attack finds."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field as OptionField
from scipy.stats import rankdata
from torch import Tensor

from overfit_lab.methods.threat import Norm, ThreatModel
from overfit_lab.probes.base import Field, Probe, ProbeOptions
from overfit_lab.probes.metrics.calibration import mean_and_stderr
from overfit_lab.probes.metrics.logit_geometry import logit_geometry
from overfit_lab.probes.metrics.minimal_perturbation import minimal_perturbation
from overfit_lab.probes.snapshot import Snapshot, View
from overfit_lab.types import Measurement, Value

LEAST = 3
"""Samples that a rank correlation needs."""


class LogitGeometryOptions(ProbeOptions):
    """Options of the logit-geometry probe."""

    n: int = OptionField(128, ge=1)
    norm: Literal["threat", "linf", "l2"] = OptionField("threat", description="of perturbations; threat: the attack's")
    measured: bool = OptionField(True, description="also search for the smallest perturbation")
    n_steps: int = OptionField(10, ge=1, description="steps of each of the two climbs at a radius")
    n_bisections: int = OptionField(10, ge=1, description="radii that the search tries")


class LogitGeometryProbe(Probe):
    """Whether a model is robust by large gaps of logits, by small gradients, or only seems to be.

    Perturbations are in [0, 1] pixels, in the norm of the snapshot's attack (l_inf where there is none), and
    ``gradient_gap`` is in the dual norm. Means are over all samples, wrong ones with perturbation 0; ``ratio`` and
    ``rank_correlation`` are over the right ones alone, and left out where there are too few. ``predicted`` is that of
    the linearised model and ignores the pixel bounds; ``measured`` is an upper bound on the true one, equal to it for
    an affine model. Where no error is predicted or found at any radius, the mean is not finite; the median may be.
    """

    name = "logit-geometry"
    source = "LSLS (Shafahi et al. 2019, arXiv 1910.11585); DeepFool (Moosavi-Dezfooli et al. 2016, arXiv 1511.04599)"
    default_inputs = ("clean",)
    Options = LogitGeometryOptions
    options: LogitGeometryOptions
    trial_options: ClassVar[dict[str, Any]] = {"n_steps": 1, "n_bisections": 1}
    fields = (
        Field("logit_gap", "mean of z_y - max_j z_j", better="higher"),
        Field("gradient_gap", "mean dual norm of grad_x (z_y - z_j), j the runner-up"),
        Field("gradient_cosine", "mean cosine between grad_x z_y and grad_x z_j, j the runner-up"),
        Field("predicted", "mean minimal perturbation of the linearised model", unit="pixels", better="higher"),
        Field("predicted_median", "median of the same", unit="pixels", better="higher"),
        Field("measured", "mean smallest perturbation found", unit="pixels", better="higher"),
        Field("measured_median", "median of the same", unit="pixels", better="higher"),
        Field("ratio", "median of measured over predicted"),
        Field("rank_correlation", "Spearman correlation of predicted and measured"),
    )

    def measure(self, snapshot: Snapshot, *, generator: torch.Generator) -> Measurement:
        """The geometry on each view.

        Cost: a forward and K backward passes to the image a sample; for the search some 2 ``n_bisections`` times
        ``n_steps`` forward and as many backward passes.
        """
        values: list[Value] = []
        arrays: dict[str, np.ndarray] = {}
        threat = self._threat(snapshot)
        for view in self.views(snapshot):
            batches = zip(view.x.split(snapshot.chunk), view.y.split(snapshot.chunk), strict=True)
            parts = [self._columns(snapshot, x, y, threat) for x, y in batches]
            columns = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
            values += _means(view, columns)
            if self.options.measured:
                values += _mean_and_median(view, "measured", columns["measured"])
                values += _compared(view, columns["predicted"], columns["measured"])
            arrays |= view.arrays(geometry=torch.stack(list(columns.values()), dim=1).cpu().numpy())
        return Measurement(values, arrays)

    def _threat(self, snapshot: Snapshot) -> ThreatModel:
        threat = snapshot.attack.threat if snapshot.attack is not None else ThreatModel()
        norm: Norm = threat.norm if self.options.norm == "threat" else self.options.norm
        return ThreatModel(norm, threat.eps, threat.low, threat.high)

    def _columns(self, snapshot: Snapshot, x: Tensor, y: Tensor, threat: ThreatModel) -> dict[str, Tensor]:
        """One number a sample of a batch (b,), by name; directions and perturbed images are not kept."""
        geometry = logit_geometry(snapshot.model, x, y, norm=threat.norm)
        columns = {
            "logit_gap": geometry.logit_gap,
            "gradient_gap": geometry.gradient_gap,
            "gradient_cosine": geometry.cosine,
            "predicted": geometry.predicted,
        }
        if self.options.measured:
            columns["measured"] = minimal_perturbation(
                snapshot.model,
                x,
                y,
                threat,
                first=geometry.predicted,
                direction=geometry.direction,
                n_steps=self.options.n_steps,
                n_bisections=self.options.n_bisections,
            ).radius
        return columns


def _means(view: View, columns: dict[str, Tensor]) -> list[Value]:
    values = []
    for name in ("logit_gap", "gradient_gap", "gradient_cosine"):
        mean, stderr = mean_and_stderr(columns[name])
        values.append(view.value(name, mean, stderr=stderr))
    return [*values, *_mean_and_median(view, "predicted", columns["predicted"])]


def _mean_and_median(view: View, name: str, column: Tensor) -> list[Value]:
    mean, stderr = mean_and_stderr(column)
    return [view.value(name, mean, stderr=stderr), view.value(f"{name}_median", float(np.median(column.cpu().numpy())))]


def _compared(view: View, predicted: Tensor, measured: Tensor) -> list[Value]:
    """Measured against predicted, over the samples that are right and for which both are known."""
    a, b = predicted.cpu().numpy(), measured.cpu().numpy()
    known = (a > 0) & (b > 0) & np.isfinite(a) & np.isfinite(b)
    a, b, n = a[known], b[known], int(known.sum())
    values = []
    if n:
        values.append(view.value("ratio", float(np.median(b / a)), n=n))
    if n >= LEAST and np.ptp(a) and np.ptp(b):
        values.append(view.value("rank_correlation", float(np.corrcoef(rankdata(a), rankdata(b))[0, 1]), n=n))
    return values


REGISTER = {"logit-geometry": LogitGeometryProbe}
