"""Norm of the loss gradient with respect to the weights."""

from __future__ import annotations

import torch

from overfit_lab.probes.base import Field, Probe
from overfit_lab.probes.metrics.gradient_norm import gradient_norm
from overfit_lab.probes.snapshot import Snapshot
from overfit_lab.types import Measurement


class GradientNormProbe(Probe):
    """|| grad_theta (1/n) sum_i CE(z(x'_i), t_i) ||_2 with the label mode's targets t_i, whole and by layer.

    Beside it the samples' own norms || grad_theta CE(z(x'_i), t_i) ||_2: their mean, which is no less than that of the
    mean gradient, and their quantiles. None is the norm that an optimiser steps along: weight decay is left out, and
    images are not augmented.
    """

    name = "gradient-norm"
    source = "SGLR (Yu et al. 2024), Fig. 1a"
    default_splits = ("train",)
    default_inputs = ("adversarial",)
    fields = (
        Field("full", "norm of the mean gradient over the probe set"),
        Field("minibatch", "mean over mini-batches of the norm of the batch gradient"),
        Field("layer", "norm of the mean gradient's part in one layer", per_part=True),
        Field("per_sample", "mean over samples of the norm of the sample's gradient"),
        Field("per_sample_quantile", "quantile over samples of the norm of the sample's gradient", per_part=True),
    )

    def measure(self, snapshot: Snapshot, *, generator: torch.Generator) -> Measurement:
        """Norms on each view.

        See :func:`overfit_lab.probes.metrics.gradient_norm.gradient_norm`. Standard errors are over samples, that of
        ``minibatch`` over batches; it is left out where the training batch size is not known.

        Cost: two forward and backward passes over the view, and the arithmetic of two more forward passes.
        """
        values = []
        for view in self.views(snapshot):
            known = snapshot.batch_size
            norms = gradient_norm(snapshot.model, view.x, snapshot.targets(view).probs, known or len(view))
            labels = "targets"
            values.append(view.value("full", norms.full, labels=labels, stderr=norms.full_stderr))
            if known:
                values.append(view.value("minibatch", norms.minibatch, labels=labels, stderr=norms.minibatch_stderr))
            values += [view.value(f"layer/{layer}", norm, labels=labels) for layer, norm in norms.layers.items()]
            samples = norms.samples
            mean, stderr = samples.mean, samples.stderr
            values.append(view.value("per_sample", mean, labels=labels, stderr=stderr, via=samples.via))
            values += [
                view.value(f"per_sample_quantile/{share:g}", norm, labels=labels, via=samples.via)
                for share, norm in samples.quantiles().items()
            ]
        return Measurement(values)


REGISTER = {"gradient-norm": GradientNormProbe}
