"""Sharpness: trace and largest eigenvalue of the Hessian."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field as OptionField

from overfit_lab.metrics.hessian import (
    Trace,
    hessian_product,
    hutchinson_trace,
    pyhessian_summary,
    top_eigenvalue,
    trainable,
)
from overfit_lab.probes.base import Field, Probe, ProbeOptions
from overfit_lab.snapshot import Snapshot, View
from overfit_lab.types import Measurement


class HessianOptions(ProbeOptions):
    """Options of the hessian probe."""

    n: int = OptionField(256, ge=1)
    estimator: Literal["hutchinson", "pyhessian"] = OptionField("hutchinson", description="ours, or PyHessian's")
    max_probes: int = OptionField(30, ge=2, description="most random vectors for the trace")
    tolerance: float = OptionField(0.05, ge=0, description="relative standard error that ends the trace early")


class HessianProbe(Probe):
    """Trace (Hutchinson, with standard error) and top eigenvalue of the Hessian of the mean cross entropy.

    Adversarial inputs are held fixed while differentiating: this is the curvature in the weights at the attacked
    images, not that of the robust loss with its inner maximum. Cross entropy to the given labels; batch norm in eval
    mode. The standard error is over random vectors, not over samples. PyHessian's readings are named apart
    (``trace-pyhessian``), so that both can stand in one run.
    """

    name = "hessian"
    source = "Hutchinson 1990; Yao et al. 2020 (PyHessian, arXiv 1912.07145); SGLR, Fig. B.7"
    default_splits = ("train",)
    default_inputs = ("adversarial",)
    Options = HessianOptions
    options: HessianOptions
    fields = (
        Field("trace", "trace of the Hessian", better="lower"),
        Field("top_eigenvalue", "eigenvalue of largest magnitude", better="lower"),
    )

    def __init__(self, options: HessianOptions | None = None) -> None:
        super().__init__(options)
        self._suffix = "-pyhessian" if self.options.estimator == "pyhessian" else ""
        if self._suffix:
            self.name_apart("pyhessian", "trace", "top_eigenvalue")

    def measure(self, snapshot: Snapshot, *, generator: torch.Generator) -> Measurement:
        """Trace and top eigenvalue on each view.

        Cost: up to ``max_probes`` plus about 15 Hessian-vector products, each two forward and backward passes.
        """
        values = []
        for view in self.views(snapshot):
            trace, top = self._summary(snapshot, view, generator)
            values.append(view.value(f"trace{self._suffix}", trace.value, stderr=trace.stderr))
            values.append(view.value(f"top_eigenvalue{self._suffix}", top))
        return Measurement(values)

    def _summary(self, snapshot: Snapshot, view: View, generator: torch.Generator) -> tuple[Trace, float]:
        vectors, tolerance = self.options.max_probes, self.options.tolerance
        if self.options.estimator == "pyhessian":
            seed = generator.initial_seed()
            return pyhessian_summary(
                snapshot.model, view.x, view.y, seed=seed, max_vectors=vectors, tolerance=tolerance
            )
        product = hessian_product(snapshot.model, view.x, view.y, snapshot.chunk)
        like = trainable(snapshot.model)
        trace = hutchinson_trace(product, like, generator=generator, max_vectors=vectors, tolerance=tolerance)
        return trace, top_eigenvalue(product, like, generator=generator)


REGISTER = {"hessian": HessianProbe}
