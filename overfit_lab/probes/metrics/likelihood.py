"""Likelihoods of a label given a model's outputs: the derivatives that make up the Fisher information."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional


class Likelihood(Protocol):
    """The distribution of a label that outputs z stand for, as the Fisher information needs it.

    With the model's Jacobian J_i the gradient of a sample's negative log-likelihood is J_i^T score, and the expected
    Fisher is the mean of J_i^T M_i J_i, M_i the Fisher information of the outputs themselves (Martens 2020, section 5).
    """

    def score(self, z: Tensor, y: Tensor) -> Tensor:
        """Derivative of -log p(y | z) by the outputs z (B, K) float64, of each sample (B, K)."""

    def information(self, z: Tensor, u: Tensor) -> Tensor:
        """u^T M u of each sample (B,), M the covariance of the score under labels drawn from p(y | z); at least 0.

        ``u`` (B, K) float64 is how the outputs z move.
        """


@dataclass(frozen=True)
class Categorical:
    """Labels 0..K-1 with probabilities softmax(z): the cross entropy. M = diag p - p p^T."""

    def score(self, z: Tensor, y: Tensor) -> Tensor:
        """The probabilities minus the one-hot label, p - e_y; ``y`` (B,) int64."""
        return torch.softmax(z, dim=1) - functional.one_hot(y, z.shape[1])

    def information(self, z: Tensor, u: Tensor) -> Tensor:
        """Variance of u_k over classes k drawn from p."""
        p = torch.softmax(z, dim=1)
        return (p * (u - (p * u).sum(dim=1, keepdim=True)).square()).sum(dim=1)


@dataclass(frozen=True)
class Gaussian:
    """Labels in R^K, normal around z with one variance s^2 > 0 in each direction: squares over 2 s^2. M = I / s^2.

    For models of regression; the probes' models are classifiers. Here IIW has a closed form that tests compare with.
    """

    variance: float = 1.0

    def score(self, z: Tensor, y: Tensor) -> Tensor:
        """The residual over the variance, (z - y) / s^2; ``y`` (B, K) float."""
        return (z - y) / self.variance

    def information(self, z: Tensor, u: Tensor) -> Tensor:
        """||u||^2 / s^2, whatever z is."""
        return u.square().sum(dim=1) / self.variance
