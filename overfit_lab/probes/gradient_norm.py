"""Norm of the loss gradient with respect to the weights."""

from __future__ import annotations

import torch

from overfit_lab.metrics.gradient_norm import gradient_norm
from overfit_lab.probes.base import Field, Probe
from overfit_lab.snapshot import Snapshot
from overfit_lab.types import Measurement


class GradientNormProbe(Probe):
    """|| grad_theta (1/n) sum_i CE(z(x'_i), t_i) ||_2 with the label mode's targets t_i, whole and by layer.

    Not the norm that an optimiser steps along: weight decay is left out, and images are not augmented.
    """

    name = "gradient-norm"
    source = "SGLR (Yu et al. 2024), Fig. 1a"
    default_splits = ("train",)
    default_inputs = ("adversarial",)
    fields = (
        Field("full", "norm of the mean gradient over the probe set"),
        Field("minibatch", "mean over mini-batches of the norm of the batch gradient"),
        Field("layer", "norm of the mean gradient's part in one layer", per_part=True),
    )

    def measure(self, snapshot: Snapshot, *, generator: torch.Generator) -> Measurement:
        """Norms on each view; see :func:`overfit_lab.metrics.gradient_norm.gradient_norm`."""
        values = []
        for view in self.views(snapshot):
            probs = snapshot.targets(view).probs
            found = gradient_norm(snapshot.model, view.x, probs, snapshot.batch_size)
            labels = "targets"
            values.append(view.value("full", found.full, labels=labels, stderr=found.full_stderr))
            values.append(view.value("minibatch", found.minibatch, labels=labels, stderr=found.minibatch_stderr))
            values += [view.value(f"layer/{layer}", norm, labels=labels) for layer, norm in found.layers.items()]
        return Measurement(values)


REGISTER = {"gradient-norm": GradientNormProbe}
