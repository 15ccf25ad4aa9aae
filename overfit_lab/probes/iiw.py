"""Information in the weights."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field as OptionField
from torch import Tensor

from overfit_lab.methods.first import TrainedFirst
from overfit_lab.probes.base import N_TRIED, Field, Probe, ProbeOptions
from overfit_lab.probes.metrics.directional import check_direction
from overfit_lab.probes.metrics.iiw import Iiw, distance, iiw, iiw_by_layer
from overfit_lab.probes.metrics.layers import group_by_layer
from overfit_lab.probes.priors.base import find_prior
from overfit_lab.probes.snapshot import Snapshot, View
from overfit_lab.types import Measurement


class IiwOptions(ProbeOptions):
    """Options of the iiw probe."""

    estimator: Literal["empirical-fisher", "expected-fisher", "pib-reference"] = "empirical-fisher"
    prior: str = OptionField(
        "initial", min_length=1, description="theta_0: initial, held-out, RUN, RUN@CHECKPOINT or a weights file"
    )
    prior_epochs: int = OptionField(10, ge=1, description="epochs that a held-out prior is trained")
    layers: bool = OptionField(True, description="also the readings of single layers")
    layer_depth: int = OptionField(2, ge=1, description="parts of a module's path that make a layer")


class IiwProbe(Probe):
    """IIW = n d^T F d in nats, d = theta - theta_0, F the Fisher at theta, n the size of the training split.

    The prior's mean theta_0 is by default the snapshot's reference: the run's initial weights unless another was
    given. Other priors (:mod:`~.probes.priors`) make other quantities, as do other estimators; both append their
    name to the fields (``iiw-expected-fisher``, ``iiw-prior-held-out``). Readings of layers use the layer's part of d
    alone; they do not add up to the whole, which has cross terms.
    """

    name = "iiw"
    source = "PIB (Wang et al. 2022), without the factor 1/2; SGLR (Yu et al. 2024), Fig. 1b"
    default_splits = ("train",)
    Options = IiwOptions
    options: IiwOptions
    fields = (
        Field("iiw", "n d^T F d", unit="nats", better="lower"),
        Field("distance", "||theta - theta_0||_2"),
        Field("layer", "n d^T F d with d restricted to one layer", unit="nats", better="lower", per_part=True),
    )

    def __init__(self, options: IiwOptions | None = None) -> None:
        super().__init__(options)
        self._prior = find_prior(self.options.prior, self.options.prior_epochs)
        self._suffix = "" if self.options.estimator == "empirical-fisher" else f"-{self.options.estimator}"
        if self._suffix:
            self.name_apart(self.options.estimator, "iiw", "layer")
        self._of_prior = f"-{self._prior.suffix}" if self._prior.suffix else ""
        if self._of_prior:
            self.name_apart(self._prior.suffix, *(field.name for field in self.fields))
        self._suffix += self._of_prior

    def for_trial(self, snapshot: Snapshot) -> Probe:
        """With the initial weights as prior where another one would have to be trained first."""
        prior = "initial" if snapshot.reference and self.to_train(snapshot) else self.options.prior
        return type(self)(self.options.model_copy(update={"n": min(self.options.n, N_TRIED), "prior": prior}))

    def check(self, snapshot: Snapshot) -> None:
        """Also: theta_0 can be had and fits the model."""
        super().check(snapshot)
        self._prior.check(snapshot)

    def to_train(self, snapshot: Snapshot) -> list[TrainedFirst]:
        """A held-out prior."""
        return self._prior.to_train(snapshot)

    def prepare(self, snapshot: Snapshot) -> None:
        """Make theta_0. Cost: nothing, but for a held-out prior its training, once a run."""
        self._prior.weights(snapshot)

    def measure(self, snapshot: Snapshot, *, generator: torch.Generator) -> Measurement:
        """IIW on each view; see :func:`overfit_lab.probes.metrics.iiw.iiw`.

        Cost: the arithmetic of about three forward passes over the view, with or without layers; for
        ``expected-fisher`` as much again for each layer.
        """
        reference = self._prior.weights(snapshot)
        primals = check_direction(snapshot.model, reference)
        displacement = {name: primals[name] - reference[name].to(primals[name]) for name in primals}
        values = []
        labels = "" if self.options.estimator == "expected-fisher" else "given"  # it draws classes from the model
        for view in self.views(snapshot):
            network, layers = self._readings(snapshot, view, displacement)
            whole: dict[str, Any] = {"labels": labels, "stderr": network.stderr, "via": network.via}
            values.append(view.value(f"iiw{self._suffix}", network.value, **whole))
            values.append(view.value(f"distance{self._of_prior}", distance(displacement), labels=""))
            for layer, part in layers.items():
                how: dict[str, Any] = {"labels": labels, "stderr": part.stderr, "via": part.via}
                values.append(view.value(f"layer{self._suffix}/{layer}", part.value, **how))
        return Measurement(values)

    def _readings(self, snapshot: Snapshot, view: View, displacement: dict[str, Tensor]) -> tuple[Iiw, dict[str, Iiw]]:
        """The whole network's reading, and those of its layers where they are asked for."""
        depth, problem = self.options.layer_depth, (snapshot.model, view.x, view.y)
        how: dict[str, Any] = {"n_train": snapshot.data.splits["train"].size, "batch_size": snapshot.chunk}
        how["estimator"] = self.options.estimator
        if self.options.layers and self.options.estimator != "expected-fisher":
            return iiw_by_layer(*problem, displacement, **how, depth=depth)
        groups = group_by_layer(displacement, depth) if self.options.layers else {}
        parts = {layer: {name: displacement[name] for name in names} for layer, names in groups.items()}
        return iiw(*problem, displacement, **how), {layer: iiw(*problem, part, **how) for layer, part in parts.items()}


REGISTER = {"iiw": IiwProbe}
