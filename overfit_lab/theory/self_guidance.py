"""Self-guided cross entropy is a symmetric cross entropy less a reward for keeping away from the label (SGLR, Prop. 1).

With prediction p = softmax(z), label e_y and target t = r p + (1 - r) e_y (SGLR, Eq. 6)::

    CE(p, t) = (1 - r) CE(p, e_y) + r H(p)                       since -sum_k p_k log p_k = H(p)
    H(p)     = RCE(p, e_y) - KL(p || e_y)                        since KL = -H + RCE
    CE(p, t) = [(1 - r) CE(p, e_y) + r RCE(p, e_y)] - r KL(p || e_y)

The bracket is SCE (Wang et al. 2019) with weights 1 - r and r. RCE = -sum_k p_k log e_y,k and the KL both hold log 0,
which is set to one constant A < 0 in both: RCE = -A (1 - p_y). A is a choice; it moves the two parts and cancels in
their difference, so the identity is exact for every A. With it the KL is one to the unnormalised (1, e^A, ..., e^A).

The values are the same whether or not the p in the target is detached; the gradients are not. Written out, the terms
are functions of p, so the identity of gradients is that of an attached target. With a detached one the gradient with
respect to z is p - t = (1 - r) (p - e_y): the present prediction as its own target does no more than scale hard labels'
gradient. SGLR's target differs from it by the average over visits, the temperature and the clean share (Eqs. 7 and 8).

Source: SGLR (Yu et al. 2024), Prop. 1.
Here ``logits`` are z (B, K), ``y`` labels (B,) int64, ``r`` is the share of the prediction in the target, in [0, 1],
and ``log_zero`` is A. Every function returns one value a sample (B,) in nats; logits may require gradients.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from overfit_lab.errors import ConfigError
from overfit_lab.methods.objectives.losses import soft_cross_entropy
from overfit_lab.theory.checks import check_labels, check_share

LOG_ZERO = -4.0
"""A, the log 0 of RCE, as SCE sets it."""


def self_guided_cross_entropy(logits: Tensor, y: Tensor, r: float, *, detached: bool = False) -> Tensor:
    """CE(p, r p + (1 - r) e_y) of each sample (B,), the left side of Prop. 1; at least 0.

    With ``detached`` the target is held fixed in differentiation, as in training.

    Raises:
        ConfigError: labels that do not fit, or r out of bounds.
    """
    check_labels(logits, y)
    check_share("r", r)
    p = torch.softmax(logits.detach() if detached else logits, dim=1)
    return soft_cross_entropy(logits, r * p + (1 - r) * functional.one_hot(y, logits.shape[1]).to(p))


def prediction_entropy(logits: Tensor) -> Tensor:
    """H(p) of each sample (B,), in [0, log K]."""
    return soft_cross_entropy(logits, torch.softmax(logits, dim=1))


def reverse_cross_entropy(logits: Tensor, y: Tensor, log_zero: float = LOG_ZERO) -> Tensor:
    """RCE(p, e_y) = -A (1 - p_y) of each sample (B,), in [0, -A]; over the K labels it sums to -A (K - 1).

    Raises:
        ConfigError: labels that do not fit, or A not a finite number below 0.
    """
    check_labels(logits, y)
    if not -float("inf") < log_zero < 0:
        raise ConfigError(f"log_zero = {log_zero}: expected a finite number below 0")
    others = torch.softmax(logits, dim=1) * (1 - functional.one_hot(y, logits.shape[1]))
    return -log_zero * others.sum(dim=1)


def symmetric_part(logits: Tensor, y: Tensor, r: float, log_zero: float = LOG_ZERO) -> Tensor:
    """(1 - r) CE(p, e_y) + r RCE(p, e_y) of each sample (B,), the SCE part; at least 0, depends on A.

    Raises:
        ConfigError: labels that do not fit, or r or A out of bounds.
    """
    check_share("r", r)
    reverse = reverse_cross_entropy(logits, y, log_zero)
    return (1 - r) * functional.cross_entropy(logits, y, reduction="none") + r * reverse


def label_divergence(logits: Tensor, y: Tensor, log_zero: float = LOG_ZERO) -> Tensor:
    """KL(p || e_y) = RCE(p, e_y) - H(p) of each sample (B,), with log 0 = A; the reward is r times it.

    Returns:
        At least -log(1 + (K - 1) e^A), the divergence from an unnormalised e_y; 0 at p = e_y; -A at p = e_k, k not y.

    Raises:
        ConfigError: labels that do not fit, or A out of bounds.
    """
    return reverse_cross_entropy(logits, y, log_zero) - prediction_entropy(logits)
