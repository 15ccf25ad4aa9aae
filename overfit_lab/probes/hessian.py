"""Sharpness: trace, largest eigenvalues and spectrum of the Hessian."""

from __future__ import annotations

import math

import numpy as np
import torch
from pydantic import Field as OptionField
from pydantic import field_validator

from overfit_lab.config.registry import Registry
from overfit_lab.errors import ConfigError
from overfit_lab.probes.base import Field, Probe, ProbeOptions
from overfit_lab.probes.metrics import hessian
from overfit_lab.probes.metrics.hessian.trace import Problem, Trace
from overfit_lab.probes.snapshot import Snapshot, View
from overfit_lab.types import Measurement, Value

ESTIMATORS = Registry("estimator", "overfit_lab.probes.metrics.hessian")


class HessianOptions(ProbeOptions):
    """Options of the hessian probe."""

    n: int = OptionField(256, ge=1)
    estimator: str = OptionField("auto", description="auto, exact, sampled, hutchinson, hutch++ or pyhessian")
    max_probes: int = OptionField(30, ge=2, description="most random vectors (products, for hutch++) for the trace")
    tolerance: float = OptionField(0.05, ge=0, description="relative standard error that ends the trace early")
    output_vectors: int = OptionField(1, ge=1, description="random vectors a sample, of estimator sampled")
    layers: bool = OptionField(True, description="also the traces of single layers")
    layer_depth: int = OptionField(2, ge=1, description="parts of a module's path that make a layer")
    top_k: int = OptionField(1, ge=0, description="how many of the largest eigenvalues; 0 for none")
    eigenvalue_tolerance: float = OptionField(1e-2, gt=0, description="their relative accuracy, in 99 of 100 draws")
    density: bool = OptionField(False, description="also the density of all eigenvalues, as an array")
    density_vectors: int = OptionField(3, ge=1, description="random vectors for the density")
    density_steps: int = OptionField(30, ge=1, description="products for each of them")

    @field_validator("estimator")
    @classmethod
    def _known(cls, name: str) -> str:
        """A registered estimator, or ``package.module:function``."""
        try:
            ESTIMATORS[name]
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return ESTIMATORS.canonical(name)


class HessianProbe(Probe):
    """Trace and top eigenvalues of the Hessian of the mean cross entropy in the weights.

    Adversarial inputs are held fixed while differentiating: this is the curvature in the weights at the attacked
    images, not that of the robust loss with its inner maximum. Cross entropy to the given labels; batch norm in eval
    mode. ``piecewise_linear`` says whether the check of the exact trace's assumption passed; with estimator auto the
    trace is exact then, or sampled with more than some 60 classes, and its standard error is over samples; else it is
    Hutchinson's, and its standard error is over random vectors at the given samples, as with ``hutch++``. All
    estimate one quantity. PyHessian's readings are named apart (``trace-pyhessian``), so that both can stand in one
    run.
    """

    name = "hessian"
    source = "Hutchinson 1990; Meyer et al. 2021; Yao et al. 2020 (PyHessian, arXiv 1912.07145); SGLR, Fig. B.7"
    default_splits = ("train",)
    default_inputs = ("adversarial",)
    Options = HessianOptions
    options: HessianOptions
    fields: tuple[Field, ...] = (
        Field("trace", "trace of the Hessian", better="lower"),
        Field(
            "piecewise_linear",
            "1 where the network is piecewise linear in each weight: the trace needs no Hessian",
        ),
        Field("layer", "trace of the Hessian's diagonal block of one layer", better="lower", per_part=True),
        Field("top_eigenvalue", "eigenvalue of largest magnitude", better="lower"),
        Field("top_eigenvalue_residual", "an eigenvalue, if not the largest, lies within this of top_eigenvalue"),
        Field("eigenvalue", "eigenvalue of the given rank in magnitude, from 2", better="lower", per_part=True),
        Field("eigenvalue_residual", "an eigenvalue lies within this of that of the given rank", per_part=True),
    )

    def __init__(self, options: HessianOptions | None = None) -> None:
        super().__init__(options)
        self._theirs = self.options.estimator == "pyhessian"
        wanted = {"trace"}
        wanted |= {"top_eigenvalue"} if self.options.top_k or self._theirs else set()
        if not self._theirs:
            wanted |= {"top_eigenvalue_residual"} if self.options.top_k else set()
            wanted |= {"piecewise_linear"}
            wanted |= {"layer"} if self.options.layers else set()
            wanted |= {"eigenvalue", "eigenvalue_residual"} if self.options.top_k > 1 else set()
        self.fields = tuple(field for field in self.fields if field.name in wanted)
        if self._theirs:
            self.name_apart("pyhessian", "trace", "top_eigenvalue")

    def for_trial(self, snapshot: Snapshot) -> HessianProbe:
        """On two samples, with the fewest random vectors and one rough eigenvalue."""
        options = self.options
        changes = {
            "n": min(options.n, 2),
            "max_probes": 3 if options.estimator == "hutch++" else 2,
            "top_k": min(options.top_k, 1),
            "eigenvalue_tolerance": 0.5,
            "density_vectors": 1,
            "density_steps": min(options.density_steps, 2),
        }
        return type(self)(options.model_copy(update=changes))

    def measure(self, snapshot: Snapshot, *, generator: torch.Generator) -> Measurement:
        """The readings on each view.

        Cost: the trace exactly takes K forward and backward passes' arithmetic, about twice over; by Hutchinson up to
        ``max_probes`` Hessian-vector products, each two forward and backward passes. The top eigenvalue takes some 10
        products, up to 30 where many are close, each further one some more; the density ``density_vectors`` times
        ``density_steps``.
        """
        values: list[Value] = []
        arrays: dict[str, np.ndarray] = {}
        for view in self.views(snapshot):
            if self._theirs:
                values += self._pyhessian(snapshot, view, generator)
                continue
            values += self._traces(snapshot, view, generator)
            values += self._eigenvalues(snapshot, view, generator)
            if self.options.density:
                arrays |= self._density(snapshot, view, generator)
        return Measurement(values, arrays)

    def _traces(self, snapshot: Snapshot, view: View, generator: torch.Generator) -> list[Value]:
        options = self.options
        problem = Problem(
            model=snapshot.model,
            x=view.x,
            y=view.y,
            chunk=snapshot.chunk,
            generator=generator,
            max_vectors=options.max_probes,
            tolerance=options.tolerance,
            layer_depth=options.layer_depth,
            output_vectors=options.output_vectors,
            linear=hessian.known_piecewise_linear(snapshot.model, view.x),
        )
        trace: Trace = ESTIMATORS[options.estimator](problem)
        holds, _ = problem.linear
        values = [
            view.value("trace", trace.value, stderr=trace.stderr, via=trace.via),
            view.value("piecewise_linear", math.nan if holds is None else float(holds), labels=""),
        ]
        if options.layers:
            layers = trace.layers.items()
            values += [view.value(f"layer/{name}", p.value, stderr=p.stderr, via=trace.via) for name, p in layers]
        return values

    def _eigenvalues(self, snapshot: Snapshot, view: View, generator: torch.Generator) -> list[Value]:
        options = self.options
        if not options.top_k:
            return []
        product = hessian.hessian_product(snapshot.model, view.x, view.y, snapshot.chunk)
        like, tolerance = hessian.trainable(snapshot.model), options.eigenvalue_tolerance
        first, *others = hessian.top_eigenvalues(product, like, options.top_k, generator=generator, tolerance=tolerance)
        values = [
            view.value("top_eigenvalue", first.value),
            view.value("top_eigenvalue_residual", first.residual),
        ]
        for rank, other in enumerate(others, start=2):
            values += [
                view.value(f"eigenvalue/{rank}", other.value),
                view.value(f"eigenvalue_residual/{rank}", other.residual),
            ]
        return values

    def _density(self, snapshot: Snapshot, view: View, generator: torch.Generator) -> dict[str, np.ndarray]:
        spectrum = hessian.spectral_density(
            hessian.hessian_product(snapshot.model, view.x, view.y, snapshot.chunk),
            hessian.trainable(snapshot.model),
            generator=generator,
            n_vectors=self.options.density_vectors,
            steps=self.options.density_steps,
        )
        where = f"{view.split}-{view.inputs}"
        return {
            f"density-{where}": np.stack([spectrum.grid, spectrum.density]),
            f"quadrature-{where}": np.stack([spectrum.nodes, spectrum.weights]),
        }

    def _pyhessian(self, snapshot: Snapshot, view: View, generator: torch.Generator) -> list[Value]:
        most, tolerance, seed = self.options.max_probes, self.options.tolerance, generator.initial_seed()
        trace, top = hessian.pyhessian_summary(
            snapshot.model, view.x, view.y, seed=seed, max_vectors=most, tolerance=tolerance
        )
        values = [view.value("trace-pyhessian", trace.value, stderr=trace.stderr)]
        return [*values, view.value("top_eigenvalue-pyhessian", top)]


REGISTER = {"hessian": HessianProbe}
