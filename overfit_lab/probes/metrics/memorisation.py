"""Losses and accuracies on corrupted labels."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def losses(logits: Tensor, y: Tensor) -> Tensor:
    """Cross entropy of each sample (n,) float64 in nats."""
    return functional.cross_entropy(logits.double(), y, reduction="none")


def hits(logits: Tensor, y: Tensor) -> Tensor:
    """Whether each prediction is the label (n,) float64, 0 or 1."""
    return (logits.argmax(dim=1) == y).double()


def detection_auc(loss: Tensor, corrupted: Tensor) -> float | None:
    """Area under the ROC curve of the loss as a detector of corrupted labels, in [0, 1].

    It is the probability that a corrupted sample has a larger loss than an untouched one (ties count half): 1 while
    the model refuses the wrong labels, 0.5 once it has memorised them. None unless both kinds are there; NaN where a
    loss is NaN, since it has no rank. ``loss`` (n,) is that against the given label.
    """
    from sklearn.metrics import roc_auc_score

    if not 0 < int(corrupted.sum()) < len(corrupted):
        return None
    if bool(loss.isnan().any()):
        return math.nan
    return float(roc_auc_score(corrupted.cpu().numpy(), torch.nan_to_num(loss).cpu().numpy()))
