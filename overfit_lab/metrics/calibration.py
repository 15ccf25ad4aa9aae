"""How well a model's confidence matches its accuracy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Reliability:
    """Bins of a reliability diagram.

    Args:
        confidence: mean confidence of each bin (M,); 0 where it is empty.
        accuracy: accuracy of each bin (M,); 0 where it is empty.
        count: samples of each bin (M,).
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray

    @property
    def gaps(self) -> np.ndarray:
        """|accuracy - confidence| of each bin (M,), 0 where it is empty."""
        return np.abs(self.accuracy - self.confidence)

    def table(self) -> np.ndarray:
        """Columns mean confidence, accuracy, count (M, 3)."""
        return np.stack([self.confidence, self.accuracy, self.count], axis=1)


def reliability(logits: Tensor, y: Tensor, n_bins: int = 15) -> Reliability:
    """Samples binned by confidence max_k p_k into equal-width bins (0, 1/M], ..., (1 - 1/M, 1].

    Args:
        logits: (n, K).
        y: labels (n,).
        n_bins: M.
    """
    conf = torch.softmax(logits.double(), dim=1).amax(dim=1).cpu().numpy()
    correct = (logits.argmax(dim=1) == y).cpu().numpy().astype(np.float64)
    edges = np.linspace(0, 1, n_bins + 1)
    which = np.clip(np.searchsorted(edges, conf, side="left") - 1, 0, n_bins - 1)
    count = np.bincount(which, minlength=n_bins).astype(np.float64)
    safe = np.maximum(count, 1)
    return Reliability(
        confidence=np.bincount(which, weights=conf, minlength=n_bins) / safe,
        accuracy=np.bincount(which, weights=correct, minlength=n_bins) / safe,
        count=count,
    )


def ece(bins: Reliability) -> float:
    """Expected calibration error sum_m |B_m|/n |acc_m - conf_m|, in [0, 1], lower is better (Naeini et al. 2015).

    Biased upwards on small sets, since noise in a bin's accuracy counts as miscalibration.
    """
    return float((bins.count / bins.count.sum() * bins.gaps).sum())


def mce(bins: Reliability) -> float:
    """Maximum calibration error, the largest gap of a bin that holds a sample, in [0, 1] (Naeini et al. 2015)."""
    return float(bins.gaps[bins.count > 0].max())


def brier(logits: Tensor, y: Tensor) -> tuple[float, float | None]:
    """Brier score mean_i sum_k (p_ik - [y_i = k])^2, in [0, 2], lower is better, and its standard error."""
    p = torch.softmax(logits.double(), dim=1)
    return mean_and_stderr((p - functional.one_hot(y, p.shape[1])).square().sum(dim=1))


def nll(logits: Tensor, y: Tensor) -> tuple[float, float | None]:
    """Negative log-likelihood mean_i -log p_i,y_i in nats, lower is better, and its standard error."""
    return mean_and_stderr(functional.cross_entropy(logits.double(), y, reduction="none"))


def mean_and_stderr(values: Tensor) -> tuple[float, float | None]:
    """Mean of values (n,) and the standard error of it; None for a single one."""
    n = len(values)
    return values.double().mean().item(), values.double().std().item() / math.sqrt(n) if n > 1 else None
