"""Confidence of predictions, and probability of the labelled class."""

from __future__ import annotations

import torch
from torch import Tensor


def confidences(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Largest probability of each sample (n,) float64, and whether the prediction is right (n,) bool."""
    return torch.softmax(logits.double(), dim=1).amax(dim=1), logits.argmax(dim=1) == y


def label_probability(logits: Tensor, y: Tensor) -> Tensor:
    """Probability of the labelled class of each sample (n,) float64."""
    return torch.softmax(logits.double(), dim=1).gather(1, y[:, None]).squeeze(1)
