"""Mixing a label or a prediction with the uniform distribution lowers what weights know of it (SGLR, Thm. 1).

What is proved. Let M_r = (1 - r) I + r/K 1 1^T be the channel that draws a label from (1 - r) e_y + r/K 1, and y_r
its output, drawn afresh: given y it depends on nothing else, so that (x, w) - y - y_r is a Markov chain. Then

1. I(w; y_r | x) falls with r: M_s follows M_r as M_(r + s - rs), so a larger r is a further channel behind a smaller
   one, and no channel adds information (data processing).
2. I(w; y_r | x) <= (1 - r) I(w; y | x): the information is an average of KL(p(y_r | x, w) || p(y_r | x)), both
   arguments of which are mixed with the same uniform distribution; KL is convex in the pair, and KL(u || u) = 0. For
   labels drawn from the model, that is the joint p(x, w) f(y | x, w), the same inequality is about a mixed prediction.
3. Weights that are trained on the drawn labels y_r alone know of y at most I(y; y_r | x), again by data processing.

What is assumed. Points 1 and 2 keep the joint of (x, y, w): the weights are the same and the label that they are asked
about is mixed. They say nothing of weights trained on the target vector itself, which for r < 1 is a one-to-one
function of y and hides nothing. There IIW has to be looked at in its Fisher form, proved here for one model only:

4. In a saturated softmax model (free logits for each x, prior weights 0) that is fitted to smoothed targets, the
   prediction is the mean target, p_r = (1 - r) p + r/K 1, and a sample's gradient is p_r - t = (1 - r) (p - e_y). Then
   d^T F d = (1 - r)^2 E_x Var_(y ~ p(. | x)) log p_r(y | x). Mixing draws every ratio p_r,i / p_r,j towards 1, so the
   variance falls, and IIW with it. F is the second moment of the gradients of the loss trained on; the expected Fisher,
   with labels drawn from p_r, has no such law, and may rise.

For networks that share weights between inputs, a lower IIW or gradient norm under smoothing is an observation, not a
consequence: with :func:`gradient_norms` one sees the norm of a sure sample grow.

Source: SGLR (Yu et al. 2024), Thm. 1, in the form that is proved here; IIW as in PIB (Wang et al. 2022). In nats.
Here ``joint`` is p(x, y, w) (X, K, W), ``labels`` is p(x, y) (X, K), and ``r`` lies in [0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor

from overfit_lab.errors import ConfigError
from overfit_lab.theory.checks import as_distribution, check_share
from overfit_lab.theory.decomposition import memorising_weights, weight_information
from overfit_lab.theory.transitions import resampling_noise


def mix_labels(joint: Tensor, r: float) -> Tensor:
    """p(x, y_r, w) (X, K, W): the label of a joint drawn anew from all K classes with probability r.

    Raises:
        ConfigError: not a distribution of three axes, or r out of bounds.
    """
    p = as_distribution("joint", joint, 3, (0, 1, 2))
    check_share("r", r)
    return torch.einsum("xyw,yk->xkw", p, resampling_noise(p.shape[1], r))


def mixed_information(joint: Tensor, r: float) -> Tensor:
    """I(w; y_r | x), what given weights tell of the mixed label; scalar, falls with r to 0 at r = 1.

    Raises:
        ConfigError: see :func:`mix_labels`.
    """
    return weight_information(mix_labels(joint, r))


def information_bound(joint: Tensor, r: float) -> Tensor:
    """(1 - r) I(w; y | x), which :func:`mixed_information` never exceeds; scalar.

    Raises:
        ConfigError: not a distribution of three axes, or r out of bounds.
    """
    check_share("r", r)
    return (1 - r) * weight_information(joint)


def training_cap(labels: Tensor, r: float) -> Tensor:
    """I(y; y_r | x), the most that weights trained on labels drawn by the channel can know of the true ones; scalar.

    Returns:
        In [0, H(y | x)], falls with r.

    Raises:
        ConfigError: not a distribution of two axes, or r out of bounds.
    """
    return mixed_information(memorising_weights(labels, 1.0), r)


def saturated_iiw(labels: Tensor, r: float, n_train: int) -> Tensor:
    """The form n d^T F d of the saturated softmax model fitted to smoothed targets; scalar, at least 0, falls with r.

    ``labels`` are positive, since a certain label has no finite logits at r = 0. The prefactor is ``n_train``, without
    the factor 1/2, as in PIB.

    Raises:
        ConfigError: not a positive distribution of two axes, or r out of bounds.
    """
    check_share("r", r)
    p_xy = as_distribution("labels", labels, 2, (0, 1))
    if not bool((p_xy > 0).all()):
        raise ConfigError("labels: smallest entry 0, expected every label possible for every input")
    p = p_xy / p_xy.sum(dim=1, keepdim=True)
    log_mixed = torch.log((1 - r) * p + r / p.shape[1])
    mean = (p * log_mixed).sum(dim=1, keepdim=True)
    return n_train * (1 - r) ** 2 * (p_xy * (log_mixed - mean).square()).sum()


def gradient_norms(weights: Tensor, x: Tensor, targets: Tensor) -> Tensor:
    """||grad_W CE(softmax(W x_i), t_i)|| = ||p_i - t_i||_2 ||x_i||_2 of softmax regression, each sample (n,).

    The norm is 0 where the prediction equals the target. So smoothing by r scales it by 1 - r while p is uniform, and
    raises it where p is surer than the smoothed target: a numerical illustration, no part of the theorem.
    ``weights`` are W (K, D), ``x`` (n, D) inputs, ``targets`` (n, K) distributions.

    Raises:
        ConfigError: targets that are no distributions, or shapes that do not fit.
    """
    t = as_distribution("targets", targets, 2, 1)
    if weights.ndim != 2 or x.shape != (len(t), weights.shape[1]) or len(weights) != t.shape[1]:
        raise ConfigError(
            f"weights, x, targets: shapes {tuple(weights.shape)}, {tuple(x.shape)}, {tuple(t.shape)}, "
            "expected (K, D), (n, D), (n, K)"
        )
    residual = torch.softmax(x.double() @ weights.double().T, dim=1) - t
    return torch.linalg.vector_norm(residual, dim=1) * torch.linalg.vector_norm(x.double(), dim=1)
