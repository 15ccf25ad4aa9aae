"""What becomes of corrupted labels."""

from __future__ import annotations

import torch

from overfit_lab.probes.base import Field, LogitsOptions, Probe
from overfit_lab.probes.metrics.calibration import mean_and_stderr
from overfit_lab.probes.metrics.memorisation import detection_auc, hits, losses
from overfit_lab.probes.snapshot import Snapshot, View
from overfit_lab.types import Measurement, Value


class MemorisationProbe(Probe):
    """Accuracy and loss on the untouched and the corrupted portion of the training labels.

    ``acc_given/corrupted`` is taken over all labels that noise drew, also where it drew the true class again;
    ``fitted`` over those alone that it changed: the share of wrong labels that the model gives back. ``detection_auc``
    is the AUC of the loss against the given label as a detector of corrupted ones. Parts without samples are left out.
    """

    name = "memorisation"
    source = "SGLR (Yu et al. 2024), Fig. 4 and section 4; Arpit et al. 2017 (arXiv 1706.05394)"
    default_splits = ("train",)
    Options = LogitsOptions
    options: LogitsOptions
    fields = (
        Field("share_untouched", "share of labels that noise left alone"),
        Field("acc_given", "accuracy against the given labels", per_part=True),
        Field("acc_true", "accuracy against the true labels", better="higher", per_part=True),
        Field("loss_given", "mean cross entropy to the given labels", unit="nats", per_part=True),
        Field("loss_true", "mean cross entropy to the true labels", unit="nats", better="lower", per_part=True),
        Field("fitted", "share of the changed labels that the model predicts", better="lower"),
        Field("detection_auc", "AUC of the loss as detector of corrupted labels", better="higher"),
    )

    def measure(self, snapshot: Snapshot, *, generator: torch.Generator) -> Measurement:
        """Both portions on each view. Cost: nothing beyond the view's logits."""
        return Measurement([value for view in self.views(snapshot) for value in self._measure_view(view)])

    def _measure_view(self, view: View) -> list[Value]:
        masks = {"all": torch.ones_like(view.corrupted), "untouched": ~view.corrupted, "corrupted": view.corrupted}
        columns = {
            ("acc_given", "given"): hits(view.logits, view.y),
            ("acc_true", "true"): hits(view.logits, view.y_true),
            ("loss_given", "given"): losses(view.logits, view.y),
            ("loss_true", "true"): losses(view.logits, view.y_true),
        }
        values = [view.value("share_untouched", (~view.corrupted).double().mean().item())]
        for part, mask in masks.items():
            if not mask.any():
                continue
            for (field, labels), column in columns.items():
                mean, stderr = mean_and_stderr(column[mask])
                values.append(view.value(f"{field}/{part}", mean, labels=labels, stderr=stderr, n=int(mask.sum())))
        changed = view.y != view.y_true
        if changed.any():
            mean, stderr = mean_and_stderr(columns["acc_given", "given"][changed])
            values.append(view.value("fitted", mean, stderr=stderr, n=int(changed.sum())))
        auc = detection_auc(columns["loss_given", "given"], view.corrupted)
        if auc is not None:
            values.append(view.value("detection_auc", auc))
        return values


REGISTER = {"memorisation": MemorisationProbe}
