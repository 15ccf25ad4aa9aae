"""Noise in place of an attack: training on perturbed images without a chosen perturbation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from overfit_lab.methods.attacks.base import Loss, Start
from overfit_lab.methods.threat import ThreatModel, flat_norm
from overfit_lab.processes.draws import draw


class Noise(ABC):
    """Random perturbations of the attack's size (SGLR, Yu et al. 2024, appendix B.5). The model plays no part.

    Args:
        **settings: what an attack takes besides; a noise has no use for it.

    Cost: no forward pass.
    """

    adversarial: ClassVar[bool] = False
    trains: ClassVar[bool] = True

    def __init__(self, threat: ThreatModel, **settings: Any) -> None:
        self.threat = threat

    @torch.no_grad()
    def __call__(
        self, model: nn.Module, x: Tensor, loss: Loss, *, generator: torch.Generator, start: Start | None = None
    ) -> Tensor:
        """Noisy images (B, ...) within the threat model."""
        delta = self.draw(x, generator)
        if self.threat.norm == "l2":
            delta = delta * (self.threat.eps / flat_norm(delta).clamp_min(1e-12))
        return self.threat.project(x + delta, x)

    @abstractmethod
    def draw(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The perturbation (B, ...); for l_2 its length does not matter, it is brought to eps."""

    def scaled(self, factor: float) -> Self:
        """The same noise, ``factor`` times as large."""
        return type(self)(replace(self.threat, eps=self.threat.eps * factor))


class GaussianNoise(Noise):
    """Normal noise with standard deviation eps, cut off at the ball (l_inf), or of length eps (l_2)."""

    def draw(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """N(0, eps^2) a pixel."""
        noise = draw(torch.randn, x.shape, generator, dtype=x.dtype)
        return noise * self.threat.eps if self.threat.norm == "linf" else noise


class RandomPixels(Noise):
    """Every pixel moved by eps up or down at random (l_inf), or so with length eps (l_2)."""

    def draw(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Plus or minus eps a pixel."""
        signs = draw(partial(torch.randint, 2), x.shape, generator, dtype=torch.int64).to(x.dtype) * 2 - 1
        return signs * self.threat.eps if self.threat.norm == "linf" else signs


REGISTER = {"gaussian-noise": GaussianNoise, "random-pixels": RandomPixels}
