"""Information in the weights."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field as OptionField
from torch import Tensor

from overfit_lab.errors import ProbeError
from overfit_lab.metrics.directional import check_direction
from overfit_lab.metrics.iiw import Iiw, distance, iiw
from overfit_lab.metrics.layers import group_by_layer
from overfit_lab.probes.base import Field, Probe, ProbeOptions
from overfit_lab.snapshot import Snapshot, View
from overfit_lab.types import Measurement


class IiwOptions(ProbeOptions):
    """Options of the iiw probe."""

    estimator: Literal["empirical-fisher", "expected-fisher", "pib-reference"] = "empirical-fisher"
    layers: bool = OptionField(True, description="also the readings of single layers, one product each")
    layer_depth: int = OptionField(2, ge=1, description="parts of a module's path that make a layer")


class IiwProbe(Probe):
    """IIW = n d^T F d in nats, d = theta - theta_0, F the Fisher at theta, n the size of the training split.

    The prior's mean theta_0 is the snapshot's reference: the run's initial weights unless another was given. Readings
    of layers use the layer's part of d alone; they do not add up to the whole, which has cross terms. Estimators are
    different quantities: those but the default append their name to the fields (``iiw-expected-fisher``).
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
        self._suffix = "" if self.options.estimator == "empirical-fisher" else f"-{self.options.estimator}"
        if self._suffix:
            self.name_apart(self.options.estimator, "iiw", "layer")

    def check(self, snapshot: Snapshot) -> None:
        """Also: theta_0 is known and fits the model."""
        super().check(snapshot)
        if not snapshot.reference:
            raise ProbeError("iiw: needs the weights it starts from (theta_0); give a run folder, or --reference FILE")
        check_direction(snapshot.model, snapshot.reference)
        lacking = [n for n, p in snapshot.model.named_parameters() if p.requires_grad and n not in snapshot.reference]
        if lacking:
            more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            raise ProbeError(f"iiw: the reference lacks {lacking[0]!r}{more}; it needs every trainable parameter")

    def measure(self, snapshot: Snapshot, *, generator: torch.Generator) -> Measurement:
        """IIW on each view; see :func:`overfit_lab.metrics.iiw.iiw`.

        Cost: one forward-mode product over the view, and one more for each layer.
        """
        reference = snapshot.reference or {}
        primals = check_direction(snapshot.model, reference)
        displacement = {name: primals[name] - reference[name].to(primals[name]) for name in primals}
        values = []
        for view in self.views(snapshot):
            whole = self._iiw(snapshot, view, displacement)
            values.append(view.value(f"iiw{self._suffix}", whole.value, stderr=whole.stderr))
            values.append(view.value("distance", distance(displacement), labels=""))
            for layer, names in self._layers(displacement).items():
                part = self._iiw(snapshot, view, {name: displacement[name] for name in names})
                values.append(view.value(f"layer{self._suffix}/{layer}", part.value, stderr=part.stderr))
        return Measurement(values)

    def _layers(self, displacement: dict[str, Tensor]) -> dict[str, list[str]]:
        return group_by_layer(displacement, self.options.layer_depth) if self.options.layers else {}

    def _iiw(self, snapshot: Snapshot, view: View, displacement: dict[str, Tensor]) -> Iiw:
        return iiw(
            snapshot.model,
            view.x,
            view.y,
            displacement,
            n_train=snapshot.data.splits["train"].size,
            estimator=self.options.estimator,
            batch_size=snapshot.chunk,
        )


REGISTER = {"iiw": IiwProbe}
