"""What the network says of each sample at one moment: the numbers of training dynamics, from a checkpoint too."""

from __future__ import annotations

import numpy as np
import torch

from overfit_lab.probes.base import Field, LogitsOptions, Probe
from overfit_lab.probes.metrics.calibration import mean_and_stderr
from overfit_lab.probes.metrics.sample_outputs import sample_outputs
from overfit_lab.probes.snapshot import Snapshot
from overfit_lab.records.dynamics import QUANTITIES
from overfit_lab.types import Measurement, Value


class DynamicsProbe(Probe):
    """Mean loss, margin, probability of the given label, distance to it and accuracy, and all of them of each sample.

    The same numbers that training keeps of its own outputs (docs/dynamics.md), but of one network in eval mode on
    images that are not augmented, attacked as in evaluation. Over several checkpoints they are dynamics:
    :meth:`overfit_lab.records.reader.Run.probed_dynamics`.
    """

    name = "dynamics"
    source = "margin: Pleiss et al. 2020, arXiv 2001.10528; distance: Paul et al. 2021, arXiv 2107.07075"
    Options = LogitsOptions
    options: LogitsOptions
    default_splits = ("train",)
    fields = (
        Field("loss", "mean of -log p_y, y the given label", unit="nats", better="lower"),
        Field("margin", "mean of z_y less the largest other logit"),
        Field("probability", "mean probability of the given label", better="higher"),
        Field(
            "distance", "mean Euclidean distance of the predicted probabilities from the given label's", better="lower"
        ),
        Field("accuracy", "share of samples whose given label is predicted", better="higher"),
    )

    def measure(self, snapshot: Snapshot, *, generator: torch.Generator) -> Measurement:
        """The numbers of each view. Cost: nothing beyond the view's logits."""
        values: list[Value] = []
        arrays: dict[str, np.ndarray] = {}
        for view in self.views(snapshot):
            said = sample_outputs(view.logits.double(), view.y)
            numbers = {
                "loss": said.loss,
                "margin": said.margin,
                "probability": said.probability,
                "distance": said.distance,
                "accuracy": (said.predicted == view.y).double(),
            }
            numbers = {name: torch.where(said.finite, of_samples, torch.nan) for name, of_samples in numbers.items()}
            for field, of_samples in numbers.items():
                mean, stderr = mean_and_stderr(of_samples)
                values.append(view.value(field, mean, stderr=stderr))
            kept = {name: numbers[name].cpu().numpy().astype(np.float16) for name in QUANTITIES}
            predicted = torch.where(said.finite, said.predicted, -1)
            arrays |= view.arrays(**kept, predicted=predicted.cpu().numpy().astype(np.int32))
        return Measurement(values, arrays)


REGISTER = {"dynamics": DynamicsProbe}
