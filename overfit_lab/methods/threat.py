"""The threat model: which perturbations an attacker may add."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from overfit_lab.processes.draws import draw

Norm = Literal["linf", "l2"]


def flat_norm(values: Tensor) -> Tensor:
    """Euclidean norm of each sample, shaped (B, 1, ..., 1) to broadcast against ``values`` (B, ...)."""
    norms = values.flatten(1).norm(dim=1)
    return norms.view(-1, *([1] * (values.dim() - 1)))


def brought_to_one(values: Tensor) -> Tensor:
    """Each sample (B, ...) divided by the power of two that brings its largest entry into [1, 2); zeros stay zeros.

    No bit is lost, and the squares of very small or very large entries can then be summed: those of 1e-25 are 0 in
    float32, and those of 1e25 are infinite.
    """
    largest = values.detach().abs().flatten(1).amax(dim=1).clamp_min(torch.finfo(values.dtype).tiny)
    power = largest / (2 * torch.frexp(largest).mantissa)
    return values / power.view(-1, *([1] * (values.dim() - 1)))


@dataclass(frozen=True)
class ThreatModel:
    """All images within ``eps`` of the clean one in ``norm``, and within the pixel bounds.

    Args:
        norm: ``"linf"`` or ``"l2"``.
        eps: radius of the ball, in units of pixels in [0, 1].
    """

    norm: Norm = "linf"
    eps: float = 8 / 255
    low: float = 0.0
    high: float = 1.0

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The nearest allowed image: first onto the ball around ``x``, then into the pixel bounds.

        For l2 the second step keeps the image in the ball, since ``x`` itself lies within the bounds.

        Args:
            x: clean images (B, ...) within the bounds.
        """
        delta = x_adv - x
        if self.norm == "linf":
            delta = delta.clamp(-self.eps, self.eps)
        else:
            norms = flat_norm(delta)
            delta = delta * (self.eps / norms.clamp_min(1e-12)).clamp_max(1.0)
        return (x + delta).clamp(self.low, self.high)

    def random_start(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """A uniform draw from the ball around each image, projected to the allowed set.

        l_inf: independent uniform pixels. l_2: uniform in volume (a normal direction, radius eps u^(1/d)).
        """
        if self.norm == "linf":
            noise = draw(torch.rand, x.shape, generator, dtype=x.dtype)
            delta = (2 * noise - 1) * self.eps
        else:
            direction = draw(torch.randn, x.shape, generator, dtype=x.dtype)
            radius = draw(torch.rand, x.shape[:1], generator, dtype=x.dtype)
            radius = radius.pow(1.0 / x[0].numel()).view(-1, *([1] * (x.dim() - 1)))
            delta = direction / flat_norm(direction).clamp_min(1e-12) * radius * self.eps
        return self.project(x + delta, x)

    def ascend(self, x_adv: Tensor, gradient: Tensor, step_size: float) -> Tensor:
        """One step of steepest ascent in this norm, not yet projected.

        Args:
            gradient: gradient of the loss with respect to them (B, ...).
            step_size: length of the step in this norm, in [0, 1] pixels.
        """
        direction, length = self._upwards(gradient)
        return x_adv + step_size * direction / length

    def steepest(self, gradient: Tensor) -> Tensor:
        """The direction of steepest ascent (B, ...), of length 1 in this norm however small the gradient; 0 of 0."""
        direction, length = self._upwards(gradient)
        return direction / length

    def _upwards(self, gradient: Tensor) -> tuple[Tensor, Tensor | float]:
        """A direction of steepest ascent (B, ...) and its length in this norm.

        Entries of the gradient that are not numbers count as 0, for l_2 infinite ones too: one of them would leave no
        direction.
        """
        if self.norm == "linf":
            return gradient.sign().nan_to_num(0.0), 1.0
        direction = brought_to_one(torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0))
        return direction, flat_norm(direction).clamp_min(1e-12)
