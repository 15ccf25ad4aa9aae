"""Confidence in right and in wrong predictions."""

from __future__ import annotations

import numpy as np
import torch

from overfit_lab.probes.base import Field, LogitsOptions, Probe
from overfit_lab.probes.metrics.calibration import mean_and_stderr
from overfit_lab.probes.metrics.confidence import confidences, label_probability
from overfit_lab.probes.snapshot import Snapshot
from overfit_lab.types import Measurement, Value


class ConfidenceProbe(Probe):
    """Mean largest probability over right and over wrong predictions apart, and the labelled class's probability.

    A field whose group is empty (no wrong prediction) is left out.
    """

    name = "confidence"
    source = "SGLR (Yu et al. 2024), Fig. 3 and B.3"
    Options = LogitsOptions
    options: LogitsOptions
    fields = (
        Field("conf", "mean largest probability"),
        Field("conf_correct", "the same over right predictions", better="higher"),
        Field("conf_wrong", "the same over wrong predictions", better="lower"),
        Field("label_prob", "mean probability of the labelled class", better="higher"),
    )

    def measure(self, snapshot: Snapshot, *, generator: torch.Generator) -> Measurement:
        """Confidences on each view. Cost: nothing beyond the view's logits."""
        values: list[Value] = []
        arrays: dict[str, np.ndarray] = {}
        for view in self.views(snapshot):
            confidence, correct = confidences(view.logits, view.y)
            of_label = label_probability(view.logits, view.y)
            groups = {
                "conf": confidence,
                "conf_correct": confidence[correct],
                "conf_wrong": confidence[~correct],
                "label_prob": of_label,
            }
            for field, group in groups.items():
                if len(group):
                    mean, stderr = mean_and_stderr(group)
                    values.append(view.value(field, mean, stderr=stderr, n=len(group)))
            arrays |= view.arrays(label_prob=of_label.cpu().numpy().astype(np.float32))
        return Measurement(values, arrays)


REGISTER = {"confidence": ConfidenceProbe}
