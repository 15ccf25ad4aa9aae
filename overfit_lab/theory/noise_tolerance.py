"""How much label noise leaves the best classifier where it is (SGLR, Thm. 2).

A transition matrix T (K, K) has a row for each true class y, with T_yk = P(given label k | true class y). The flip
rate of y is eta_y = 1 - T_yy, and eta_yk = T_yk for k other than y. The condition of the theorem is eta_yk < 1 - eta_y
for every y and k; for noise that treats all classes alike that is eta < 1 - 1/K. Two things follow:

1. Where the true class is certain given x, the likeliest given label is the true class: the diagonal leads its row.
2. For a loss whose sum over the K labels is a constant C, whatever the prediction (RCE and the 0-1 loss are such),
   symmetric noise turns the risk R into (1 - eta K / (K - 1)) R + eta C / (K - 1). The slope is positive under the
   condition, so both risks rank predictors alike. Class-dependent noise turns it into
   C E(1 - eta_y) - E sum_(k != y) (1 - eta_y - eta_yk) loss(k), whose weights are positive under the condition. To keep
   the minimiser it needs, besides, a predictor without clean loss, and a loss that never exceeds C / (K - 1), as RCE.

Cross entropy has no such C, so what is said of SGLR rests on the RCE part of its loss (Prop. 1), not on the whole.
The flip rate is not the rate of ``noise.kind: symmetric``, which redraws a label from all K classes: redrawing with
probability eta flips with probability eta (1 - 1/K), so that the condition becomes eta < 1 and the slope 1 - eta.

Source: SGLR (Yu et al. 2024), Thm. 2; the argument is that of Ghosh et al. (2017) and SCE (Wang et al. 2019).
Here ``transition`` is T, ``posterior`` is P(y | x) (n, K), and ``losses`` (n, K) are those of each sample against each
label.
"""

from __future__ import annotations

import torch
from torch import Tensor

from overfit_lab.errors import ConfigError
from overfit_lab.theory.checks import as_distribution, check_classes, check_labels, check_share

SMALLEST_MARGIN = 1e-12
"""A margin up to it is rounding: at the threshold itself the condition does not hold."""


def tolerance_margins(transition: Tensor) -> Tensor:
    """1 - eta_y - max_(k != y) eta_yk of each true class (K,), in [-1, 1]; the noise is tolerated where positive.

    Raises:
        ConfigError: not square, or rows that are no distributions.
    """
    t = _square(transition)
    flips = 1 - t.diagonal()
    others = t - torch.diag(t.diagonal())
    return 1 - flips - others.max(dim=1).values


def is_tolerated(transition: Tensor) -> bool:
    """Whether eta_yk < 1 - eta_y for every true class y and other class k.

    Raises:
        ConfigError: see :func:`tolerance_margins`.
    """
    return bool((tolerance_margins(transition) > SMALLEST_MARGIN).all())


def noisy_posterior(posterior: Tensor, transition: Tensor) -> Tensor:
    """P(given label | x) = sum_y P(y | x) T_yk of each input (n, K).

    Symmetric noise within the condition keeps the likeliest class of every row. Class-dependent noise within the
    condition keeps that of rows that are certain, and may change it where two classes are nearly as likely.

    Raises:
        ConfigError: not distributions, or not of the same K.
    """
    p, t = as_distribution("posterior", posterior, 2, 1), _square(transition)
    _check_same(p, t)
    return p @ t


def noisy_risk(losses: Tensor, y: Tensor, transition: Tensor) -> Tensor:
    """Mean loss over samples and over the labels that noise may give them: mean_i sum_k T_(y_i)k loss_ik; scalar.

    ``y`` are the true classes (n,); the identity as T gives the clean risk.

    Raises:
        ConfigError: labels or matrix that do not fit.
    """
    check_labels(losses, y)
    t = _square(transition)
    _check_same(losses, t)
    return (t[y] * losses.double()).sum(dim=1).mean()


def symmetric_risk(clean_risk: Tensor, total: float, n_classes: int, flip: float) -> Tensor:
    """(1 - eta K / (K - 1)) R + eta C / (K - 1): what symmetric noise makes of the risk of a symmetric loss.

    R is the ``clean_risk``, of any shape, C the ``total``: the loss summed over the K labels; eta is the flip rate.

    Raises:
        ConfigError: fewer than two classes, or a rate outside [0, 1].
    """
    check_classes(n_classes)
    check_share("flip", flip)
    return (1 - flip * n_classes / (n_classes - 1)) * clean_risk + flip * total / (n_classes - 1)


def _square(transition: Tensor) -> Tensor:
    t = as_distribution("transition", transition, 2, 1)
    if t.shape[0] != t.shape[1]:
        raise ConfigError(f"transition: shape {tuple(t.shape)}, expected (K, K)")
    check_classes(len(t))
    return t


def _check_same(rows: Tensor, transition: Tensor) -> None:
    if rows.shape[1] != len(transition):
        raise ConfigError(f"transition: {len(transition)} classes, but {rows.shape[1]} in the rows")
