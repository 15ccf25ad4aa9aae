"""Knowledge distillation is label refinement with the teacher's prediction (SGLR, Prop. 2).

With student p = softmax(z), teacher q, label e_y and weight r::

    (1 - r) CE(p, e_y) + r KL(q || p) = CE(p, r q + (1 - r) e_y) - r H(q)

since KL(q || p) = CE(p, q) - H(q) and cross entropy is linear in its target. The teacher is fixed, so the two differ by
a constant: they have the same gradient p - t, where t = r q + (1 - r) e_y, and the same minimiser p = t. SGLR's target
has this form with q = p~, the average of the model's own past predictions: distillation from itself, as long as p~ is
held fixed in differentiation. The temperature is 1; another is part of what q is, without the factor T^2 of KD.

Source: SGLR (Yu et al. 2024), Prop. 2; KD is Hinton et al. (2015).
Here ``logits`` are the student's z (B, K), ``teacher`` is q (B, K), distributions that are detached, ``y`` are labels
(B,) int64, and ``r`` lies in [0, 1]. Every function of logits returns one value a sample (B,) in nats; gradients go to
the logits alone.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from overfit_lab.errors import ConfigError
from overfit_lab.methods.objectives.losses import soft_cross_entropy
from overfit_lab.theory.checks import as_distribution, check_labels, check_share


def refined_target(teacher: Tensor, y: Tensor, r: float) -> Tensor:
    """The target r q + (1 - r) e_y, a distribution for each sample (B, K).

    Raises:
        ConfigError: no distributions, labels that do not fit, or r out of bounds.
    """
    q = as_distribution("teacher", teacher.detach(), 2, 1)
    check_labels(q, y)
    check_share("r", r)
    return r * q + (1 - r) * functional.one_hot(y, q.shape[1]).to(q)


def refined_cross_entropy(logits: Tensor, teacher: Tensor, y: Tensor, r: float) -> Tensor:
    """CE(p, r q + (1 - r) e_y) of each sample (B,), the form of a label mode; at least r H(q).

    Raises:
        ConfigError: see :func:`refined_target`; also where the shapes differ.
    """
    _check_same(logits, teacher)
    return soft_cross_entropy(logits, refined_target(teacher, y, r))


def distillation_loss(logits: Tensor, teacher: Tensor, y: Tensor, r: float) -> Tensor:
    """(1 - r) CE(p, e_y) + r KL(q || p) of each sample (B,), the form of KD at T = 1; at least 0.

    Raises:
        ConfigError: see :func:`refined_target`; also where the shapes differ.
    """
    _check_same(logits, teacher)
    check_labels(logits, y)
    check_share("r", r)
    q = as_distribution("teacher", teacher.detach(), 2, 1)
    divergence = (torch.xlogy(q, q) - q * functional.log_softmax(logits, dim=1)).sum(dim=1)
    return (1 - r) * functional.cross_entropy(logits, y, reduction="none") + r * divergence


def distillation_constant(teacher: Tensor, r: float) -> Tensor:
    """The constant r H(q) of each sample (B,), by which the two forms differ; in [0, r log K].

    Raises:
        ConfigError: no distributions, or r out of bounds.
    """
    check_share("r", r)
    q = as_distribution("teacher", teacher.detach(), 2, 1)
    return -r * torch.xlogy(q, q).sum(dim=1)


def _check_same(logits: Tensor, teacher: Tensor) -> None:
    if logits.shape != teacher.shape:
        raise ConfigError(f"teacher: shape {tuple(teacher.shape)}, but {tuple(logits.shape)} of the logits")
