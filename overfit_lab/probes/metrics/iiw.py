"""IIW: the information in the weights about the training labels, under a Gaussian approximation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from overfit_lab.probes.metrics.directional import logit_motion
from overfit_lab.probes.metrics.likelihood import Categorical, Likelihood
from overfit_lab.probes.metrics.slopes_by_layer import slopes_by_layer

Estimator = Literal["empirical-fisher", "expected-fisher", "pib-reference"]


@dataclass(frozen=True)
class Iiw:
    """An estimate of IIW in nats, its standard error, and the number of samples (or batches) that it is a mean of.

    ``via`` is the way to the derivatives: one of :data:`overfit_lab.models.compute.derivatives.WAYS`, or that of
    :func:`overfit_lab.probes.metrics.per_sample_norms.gradient_way`.
    """

    value: float
    stderr: float | None
    n: int
    via: str = ""


def iiw(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    displacement: Mapping[str, Tensor],
    *,
    n_train: int,
    estimator: Estimator = "empirical-fisher",
    batch_size: int = 256,
    likelihood: Likelihood | None = None,
) -> Iiw:
    r"""N d^T F d, with d = theta - theta_0 and F the Fisher information of one sample at theta.

    With prior N(theta_0, S) and posterior N(theta, S), S^-1 = n F, the KL divergence is (1/2) n d^T F d up to a
    constant; as in PIB (Wang et al. 2022) the factor 1/2 is left out. Never compare readings of different estimators:

    - ``empirical-fisher``: F = mean_i g_i g_i^T, so d^T F d = mean_i (d^T g_i)^2, g_i the gradient of the cross
      entropy to the given label (of -log p(y | z) under another likelihood);
    - ``expected-fisher``: F = mean_i J_i^T (diag p_i - p_i p_i^T) J_i, labels drawn from the model;
    - ``pib-reference``: the square of d^T times a mini-batch's mean gradient, averaged over mini-batches, which is
      what PIB's public code computes; it shrinks with the batch size and is not an estimate of d^T F d.

    Args:
        model: at theta, in eval mode; not changed.
        x: images (m, C, H, W); the mean is over them.
        y: given labels (m,).
        displacement: d by parameter name.
        n_train: n, size of the training set, the prefactor.
        estimator: see above.
        batch_size: images per forward-mode product; also the mini-batch of ``pib-reference``.
        likelihood: what the outputs stand for; None: probabilities of classes, see
            :mod:`overfit_lab.probes.metrics.likelihood`.

    Returns:
        IIW in nats (divide by ln 2 for bits), at least 0; lower means less information in the weights.

    Cost: one forward-mode product over x, the arithmetic of about three forward passes; memory flat in m.
    """
    likelihood = likelihood if likelihood is not None else Categorical()
    terms = []
    via, motion = logit_motion(model, x, displacement)
    for part, labels in zip(x.split(batch_size), y.split(batch_size), strict=True):
        z, u = (tensor.double() for tensor in motion(part))
        if estimator == "expected-fisher":
            terms.append(likelihood.information(z, u))
            continue
        slopes = (likelihood.score(z, labels) * u).sum(dim=1)
        terms.append(slopes.square() if estimator == "empirical-fisher" else slopes.mean().square().view(1))
    return _mean_of(torch.cat(terms), n_train, via)


def iiw_by_layer(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    displacement: Mapping[str, Tensor],
    *,
    n_train: int,
    estimator: Literal["empirical-fisher", "pib-reference"] = "empirical-fisher",
    batch_size: int = 256,
    depth: int | None = None,
    likelihood: Likelihood | None = None,
) -> tuple[Iiw, dict[str, Iiw]]:
    """:func:`iiw` of the network, and of each layer with d restricted to it; the layers do not add up to the network.

    ``depth`` parts of a module's path make a layer. The estimator is one that rests on the slopes d^T g_i alone.

    Cost: arithmetic of about three forward passes over x, however many layers there are; memory flat in m.
    """
    of_outputs = likelihood if likelihood is not None else Categorical()

    def score(z: Tensor, part: slice) -> Tensor:
        return of_outputs.score(z.double(), y[part])

    slopes, via = slopes_by_layer(model, x, score, displacement, depth=depth, batch_size=batch_size)
    layers = {layer: _from_slopes(values, estimator, n_train, batch_size, via) for layer, values in slopes.items()}
    total = torch.stack(list(slopes.values())).sum(dim=0)
    return _from_slopes(total, estimator, n_train, batch_size, via), layers


def _from_slopes(slopes: Tensor, estimator: str, n_train: int, batch_size: int, via: str) -> Iiw:
    """The reading from d^T g_i of each sample (m,)."""
    if estimator == "empirical-fisher":
        return _mean_of(slopes.square(), n_train, via)
    return _mean_of(torch.stack([batch.mean().square() for batch in slopes.split(batch_size)]), n_train, via)


def _mean_of(terms: Tensor, n_train: int, via: str) -> Iiw:
    count = len(terms)
    stderr = n_train * terms.std().item() / math.sqrt(count) if count > 1 else None
    return Iiw(value=n_train * terms.mean().item(), stderr=stderr, n=count, via=via)


def distance(displacement: Mapping[str, Tensor]) -> float:
    """||theta - theta_0||_2."""
    return math.sqrt(sum(d.double().square().sum().item() for d in displacement.values()))
