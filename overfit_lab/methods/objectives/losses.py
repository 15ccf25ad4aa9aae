"""Losses that objectives share, one value a sample."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from overfit_lab.types import Targets


def soft_cross_entropy(logits: Tensor, probs: Tensor) -> Tensor:
    """Cross entropy -sum_k t_k log p_k of each sample (B,) in nats.

    Args:
        probs: target distributions (B, K).
    """
    return -(probs * functional.log_softmax(logits, dim=1)).sum(dim=1)


def consistency(logits: Tensor, targets: Targets) -> Tensor | float:
    """The weighted squared distance w mean_k (p_k - c_k)^2 of each sample (B,); 0 where the mode has no such term."""
    if targets.consistency is None:
        return 0.0
    gap = torch.softmax(logits, dim=1) - targets.consistency
    return targets.consistency_weight * gap.square().mean(dim=1)


def target_loss(logits: Tensor, targets: Targets) -> Tensor:
    """Cross entropy to the label mode's distribution, and the mode's consistency term, (B,)."""
    return soft_cross_entropy(logits, targets.probs) + consistency(logits, targets)


def given_label_loss(logits: Tensor, targets: Targets) -> Tensor:
    """Cross entropy to the given labels, and the mode's consistency term, (B,)."""
    return given_label_cross_entropy(logits, targets) + consistency(logits, targets)


def given_label_cross_entropy(logits: Tensor, targets: Targets) -> Tensor:
    """Cross entropy to the given labels, or to their distribution where an image has several, (B,) in nats."""
    if targets.given_probs is not None:
        return soft_cross_entropy(logits, targets.given_probs)
    return functional.cross_entropy(logits, targets.given, reduction="none")


def kl_divergence(logits_p: Tensor, logits_q: Tensor) -> Tensor:
    """KL(p || q) = sum_k p_k (log p_k - log q_k) of each sample (B,) in nats, with gradients to both.

    Args:
        logits_p: logits of p (B, K).
        logits_q: logits of q (B, K).
    """
    log_p, log_q = functional.log_softmax(logits_p, dim=1), functional.log_softmax(logits_q, dim=1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)
