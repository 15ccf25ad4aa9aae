"""Temperature scaling: one number that calibrates a model's confidence and changes no prediction.

Its functions take logits (n, K) and labels y (n,).
"""

from __future__ import annotations

import math

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional

COLDEST, HOTTEST = 1e-3, 1e3


def fit_temperature(logits: Tensor, y: Tensor) -> float:
    """The T that minimises the mean negative log-likelihood of softmax(z / T) (Guo et al. 2017, section 4.2).

    The loss is convex in 1/T, so there is one minimum. Where every answer is right it lies at T = 0, and where the
    logits say less than nothing about the labels at infinity; then the end of the range [0.001, 1000] is given. So it
    is where the loss is level up to that end. Where no T makes a difference, 1 is given.

    Returns:
        T: above 1 for an overconfident model, below 1 for an underconfident one; NaN where a logit is not finite, as of
        a model that diverged.

    Raises:
        ValueError: there is no sample.

    Cost: some 50 evaluations of the loss on the logits; no forward pass.
    """
    if len(y) == 0:
        raise ValueError("no samples to fit a temperature on")
    z = logits.detach().double()
    if not z.isfinite().all():
        return math.nan

    def loss(log_temperature: float) -> float:
        return functional.cross_entropy(z / math.exp(log_temperature), y).item()

    bounds = (math.log(COLDEST), math.log(HOTTEST))
    fit = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    cold, hot = (loss(end) <= fit.fun for end in bounds)
    if cold and hot:
        return 1.0
    if cold or hot:
        return COLDEST if cold else HOTTEST
    return math.exp(float(fit.x))


def scale_crosswise(logits: Tensor, y: Tensor) -> tuple[Tensor, float]:
    """Logits over temperatures that were not fitted on them, where there is no validation split.

    The samples with even places are scaled by the T of those with odd places, and the other way round, so that no
    sample has a say in its own temperature. At least two, in an order that has nothing to do with the labels.

    Returns:
        The scaled logits (n, K) float64, and the geometric mean of both temperatures; NaN where a half has none.

    Raises:
        ValueError: fewer than two samples.
    """
    if len(y) < 2:
        raise ValueError(f"{len(y)} samples: two or more are needed to fit on one half and scale the other")
    even, odd = slice(0, None, 2), slice(1, None, 2)
    of_even, of_odd = fit_temperature(logits[even], y[even]), fit_temperature(logits[odd], y[odd])
    scaled = torch.empty_like(logits, dtype=torch.float64)
    scaled[even], scaled[odd] = logits[even].double() / of_odd, logits[odd].double() / of_even
    return scaled, math.sqrt(of_even * of_odd)
