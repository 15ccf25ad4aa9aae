"""Temperature scaling: one number that calibrates a model's confidence and changes no prediction.

Its functions take logits (n, K) and labels y (n,).
"""

from __future__ import annotations

import math

import torch
from scipy.optimize import brentq, minimize_scalar
from torch import Tensor
from torch.nn import functional

USUAL = (math.log(1e-3), math.log(1e3))
"""Logarithms of the temperatures among which the minimum is looked for first."""
STEEPEST = 60.0
"""Logarithm of the ratio up to which temperatures beyond those are compared with the spread of the logits."""


def fit_temperature(logits: Tensor, y: Tensor) -> float:
    """The T that minimises the mean negative log-likelihood of softmax(z / T) (Guo et al. 2017, section 4.2).

    The loss is convex in 1/T, so there is one minimum. It lies at T = 0 where no other class has a larger logit than
    the label in any sample, and at infinity where the logits say nothing or less about the labels: where the mean of
    z_y - mean_k z_k is not above 0. These are limits, no estimates.

    Returns:
        T: above 1 for an overconfident model, below 1 for an underconfident one, or the limit 0 or infinity; NaN where
        all logits of a sample are equal in every sample, so that no T makes a difference, and where a logit is not
        finite, as of a model that diverged.

    Raises:
        ValueError: there is no sample.

    Cost: some 50 evaluations of the loss on the logits; no forward pass.
    """
    if len(y) == 0:
        raise ValueError("no samples to fit a temperature on")
    z = logits.detach().double()
    highest, lowest, labelled = z.amax(dim=1), z.amin(dim=1), z.gather(1, y[:, None]).squeeze(1)
    if not z.isfinite().all() or bool((highest == lowest).all()):
        return math.nan
    if bool((labelled == highest).all()):
        return 0.0
    if (labelled - z.mean(dim=1)).mean() <= 0:
        return math.inf

    def loss(log_temperature: float) -> float:
        return functional.cross_entropy(z / math.exp(log_temperature), y).item()

    fit = minimize_scalar(loss, bounds=USUAL, method="bounded", options={"xatol": 1e-6})
    cold, hot = (loss(end) <= fit.fun or abs(fit.x - end) < 1e-4 for end in USUAL)
    return _beyond(z, y, (highest - lowest).max().item()) if cold or hot else math.exp(float(fit.x))


def _beyond(z: Tensor, y: Tensor, spread: float) -> float:
    """A temperature outside the usual range, from the slope of the loss in 1/T; a limit where that has one sign."""

    def slope(log_ratio: float) -> float:
        p = torch.softmax(z / (spread * math.exp(log_ratio)), dim=1)
        return ((p * z).sum(dim=1) - z.gather(1, y[:, None]).squeeze(1)).mean().item()

    if slope(STEEPEST) >= 0:
        return math.inf
    if slope(-STEEPEST) <= 0:
        return 0.0
    return spread * math.exp(float(brentq(slope, -STEEPEST, STEEPEST)))


def over_temperature(logits: Tensor, temperature: float) -> Tensor:
    """Logits / T (n, K) float64, which has the answers of the logits at every T.

    At T = 0 softmax is 1 on the answer, shared out among equal ones; at infinity it is 1/K; NaN where T is.
    """
    z = logits.double()
    if temperature == 0:
        return torch.zeros_like(z).masked_fill(z < z.amax(dim=1, keepdim=True), -math.inf)
    return z * 1e-300 if temperature == math.inf else z / temperature  # uniform to the bit, in the order of the logits


def scale_crosswise(logits: Tensor, y: Tensor) -> tuple[Tensor, float]:
    """Logits over temperatures that were not fitted on them, where there is no validation split.

    The samples with even places are scaled by the T of those with odd places, and the other way round, so that no
    sample has a say in its own temperature. At least two, in an order that has nothing to do with the labels.

    Returns:
        The scaled logits (n, K) float64, and the geometric mean of both temperatures; NaN where a half has none, or one
        has 0 and the other infinity.

    Raises:
        ValueError: fewer than two samples.
    """
    if len(y) < 2:
        raise ValueError(f"{len(y)} samples: two or more are needed to fit on one half and scale the other")
    even, odd = slice(0, None, 2), slice(1, None, 2)
    of_even, of_odd = fit_temperature(logits[even], y[even]), fit_temperature(logits[odd], y[odd])
    scaled = torch.empty_like(logits, dtype=torch.float64)
    scaled[even], scaled[odd] = over_temperature(logits[even], of_odd), over_temperature(logits[odd], of_even)
    return scaled, math.sqrt(of_even * of_odd)
