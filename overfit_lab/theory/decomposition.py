"""Expected cross entropy as label entropy, plus divergence of the prediction, minus information in the weights.

For labels y, inputs x and weights w with a joint distribution p(x, y, w), and predictions f(y | x, w)::

    H_f(y | x, w) = H(y | x) + E_(x,w) KL(p(y | x, w) || f(y | x, w)) - I(w; y | x)

Derivation: for fixed (x, w) a cross entropy is an entropy plus a divergence, E[-log f] = H(p(y | x, w)) +
KL(p(y | x, w) || f). Averaged over (x, w), the entropies give H(y | x, w), which by the definition of conditional
mutual information is H(y | x) - I(w; y | x). The divergence must be taken from p(y | x, w), what is left to know of
the label once the weights are seen. With p(y | x) in its place the sides agree only in special cases, such as
I(w; y | x) = 0.

Source: SGLR (Yu et al. 2024), Eq. 2, after Achille and Soatto (2018) and Harutyunyan et al. (2020).
Here ``joint`` is p(x, y, w), a tensor (X, K, W) with entry [x, y, w], ``prediction`` is f(y | x, w) of the same shape,
a distribution along the second axis, ``labels`` is p(x, y) (X, K), and ``share`` lies in [0, 1]. All entropies are in
nats; 0 log 0 is 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from overfit_lab.errors import ConfigError
from overfit_lab.theory.checks import as_distribution, check_share


@dataclass(frozen=True)
class Decomposition:
    """The three terms of Eq. 2, scalar float64 tensors in nats.

    Args:
        label_entropy: H(y | x), in [0, log K].
        divergence: E KL(p(y | x, w) || f(y | x, w)), at least 0, infinite where f rules out what happens.
        information: I(w; y | x), in [0, H(y | x)].
    """

    label_entropy: Tensor
    divergence: Tensor
    information: Tensor

    def total(self) -> Tensor:
        """H(y | x) + E KL - I(w; y | x), the right side of Eq. 2, scalar."""
        return self.label_entropy + self.divergence - self.information


def label_entropy(joint: Tensor) -> Tensor:
    """H(y | x), the uncertainty of the label that no model can remove without having seen it; scalar in [0, log K].

    Raises:
        ConfigError: not a distribution of three axes.
    """
    p_xy = as_distribution("joint", joint, 3, (0, 1, 2)).sum(dim=2)
    return -_mean_log(p_xy, p_xy) + _mean_log(p_xy, p_xy.sum(dim=1, keepdim=True))


def weight_information(joint: Tensor) -> Tensor:
    """I(w; y | x), what the weights tell of the label beyond the input; scalar in [0, H(y | x)].

    It is H(y | x) where the weights determine the label (perfect memory), 0 where they do not depend on it given x.

    Raises:
        ConfigError: not a distribution of three axes.
    """
    p = as_distribution("joint", joint, 3, (0, 1, 2))
    p_xw, p_xy, p_x = p.sum(dim=1, keepdim=True), p.sum(dim=2, keepdim=True), p.sum(dim=(1, 2), keepdim=True)
    return _mean_log(p, p) - _mean_log(p, p_xw) - _mean_log(p, p_xy) + _mean_log(p, p_x)


def expected_divergence(joint: Tensor, prediction: Tensor) -> Tensor:
    """E_(x,w) KL(p(y | x, w) || f(y | x, w)), how far the model is from the best use of its weights; scalar.

    Returns:
        At least 0, lower is better; infinite where f is 0 and the joint is not.

    Raises:
        ConfigError: not distributions, or of different shapes.
    """
    p, f = _both(joint, prediction)
    return _mean_log(p, p) - _mean_log(p, p.sum(dim=1, keepdim=True)) - _mean_log(p, f)


def expected_cross_entropy(joint: Tensor, prediction: Tensor) -> Tensor:
    """H_f(y | x, w) = E[-log f(y | x, w)], the left side of Eq. 2; scalar, at least 0, lower is better.

    Raises:
        ConfigError: not distributions, or of different shapes.
    """
    p, f = _both(joint, prediction)
    return -_mean_log(p, f)


def decompose(joint: Tensor, prediction: Tensor) -> Decomposition:
    """The right side of Eq. 2, term by term.

    Raises:
        ConfigError: not distributions, or of different shapes.
    """
    return Decomposition(label_entropy(joint), expected_divergence(joint, prediction), weight_information(joint))


def memorising_weights(labels: Tensor, share: float) -> Tensor:
    """A joint p(x, y, w) (X, K, K) with one weight of K values, which holds the label with probability ``share``.

    Otherwise the weight is a fresh draw from p(y | x). So p(y | x, w) = (1 - share) p(y | x) + share [y = w]:
    share 0 knows nothing of the label, share 1 all.

    Raises:
        ConfigError: not a distribution of two axes, or a share out of bounds.
    """
    check_share("share", share)
    p_xy = as_distribution("labels", labels, 2, (0, 1))
    p_x = p_xy.sum(dim=1, keepdim=True)
    fresh = p_xy[:, :, None] * (p_xy / p_x.clamp_min(torch.finfo(p_xy.dtype).tiny))[:, None, :]
    return (1 - share) * fresh + share * torch.diag_embed(p_xy)


def _mean_log(p: Tensor, q: Tensor) -> Tensor:
    """Sum of p log q, where 0 log 0 is 0."""
    return torch.xlogy(p, q).sum()


def _both(joint: Tensor, prediction: Tensor) -> tuple[Tensor, Tensor]:
    if joint.shape != prediction.shape:
        raise ConfigError(f"prediction: shape {tuple(prediction.shape)}, but {tuple(joint.shape)} of the joint")
    return as_distribution("joint", joint, 3, (0, 1, 2)), as_distribution("prediction", prediction, 3, 1)
