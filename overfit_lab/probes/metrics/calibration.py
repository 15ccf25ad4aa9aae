"""Calibration: how well a model's confidence matches its accuracy; from logits (n, K), labels y (n,) and M bins."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Reliability:
    """Mean confidence, accuracy and samples of each bin of a reliability diagram, (M,) each; 0 where it is empty."""

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
    """Samples binned by confidence max_k p_k into equal-width bins (0, 1/M], ..., (1 - 1/M, 1]."""
    conf = torch.softmax(logits.double(), dim=1).amax(dim=1).cpu().numpy()
    correct = (logits.argmax(dim=1) == y).cpu().numpy().astype(np.float64)
    which = _bin_of(conf, n_bins)
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


def adaptive_ece(logits: Tensor, y: Tensor, n_bins: int = 15) -> float:
    """Calibration error over bins of equal mass, in [0, 1], lower is better.

    Samples are sorted by confidence and cut into M bins of mass 1/M each, so that no bin rests on a few samples alone;
    sum_m (1/M) |acc_m - conf_m|. A sample on a cut (where M does not divide n) counts in both bins by its share. Where
    a cut falls among samples of equal confidence (to 12 decimals), each of them counts with their mean accuracy, so the
    order of samples plays no part. Biased upwards on small sets, as :func:`ece`; with one bin it is
    |accuracy - mean confidence|.

    Source: Nguyen and O'Connor 2015 (arXiv 1508.05154), with the absolute gap as in Nixon et al. 2019
    (arXiv 1904.01685).

    Cost: a sort of n numbers.
    """
    conf = torch.softmax(logits.double(), dim=1).amax(dim=1).cpu().numpy()
    correct = (logits.argmax(dim=1) == y).cpu().numpy().astype(np.float64)
    order = np.argsort(conf, kind="stable")
    conf = conf[order]
    _, tied, count = np.unique(np.round(conf, 12), return_inverse=True, return_counts=True)
    accuracy = (np.bincount(tied, weights=correct[order]) / count)[tied]
    surplus = np.concatenate([[0.0], np.cumsum(accuracy - conf)])
    at_cuts = np.interp(np.linspace(0, len(conf), n_bins + 1), np.arange(len(conf) + 1), surplus)
    return float(np.abs(np.diff(at_cuts)).sum() / len(conf))


def classwise_ece(logits: Tensor, y: Tensor, n_bins: int = 15) -> float:
    """Mean over classes k of the calibration error of p_k alone, in [0, 1], lower is better (Kull et al. 2019).

    (1/K) sum_k sum_m |B_km|/n |share of label k in B_km - mean of p_k in B_km| over M equal-width bins of p_k. It sees
    errors of probabilities other than the largest. With many classes most p_k are near 0, which makes the mean small:
    compare it only between models of one data set.

    Source: Kull et al. 2019 (arXiv 1910.12656).

    Cost: one pass over the (n, K) probabilities; beside them a few vectors of length n.
    """
    p = torch.softmax(logits.double(), dim=1).cpu().numpy()
    labels = y.cpu().numpy()
    total = sum(np.abs(_binned(p[:, k] - (labels == k), p[:, k], n_bins)).sum() for k in range(p.shape[1]))
    return float(total / p.size)


def _binned(values: np.ndarray, positions: np.ndarray, n_bins: int) -> np.ndarray:
    """Sums (M,) of values whose positions in [0, 1] lie in the same equal-width bin, closed at its upper edge."""
    return np.bincount(_bin_of(positions, n_bins), weights=values, minlength=n_bins)


def _bin_of(positions: np.ndarray, n_bins: int) -> np.ndarray:
    return np.clip(np.searchsorted(np.linspace(0, 1, n_bins + 1), positions, side="left") - 1, 0, n_bins - 1)


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
