"""The smallest perturbation that an attack finds for each image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from overfit_lab.methods.attacks.gradient import input_gradient
from overfit_lab.methods.attacks.losses import Margin
from overfit_lab.methods.threat import ThreatModel, flat_norm
from overfit_lab.models.isolation import frozen

FIRST_STEP = 0.5
"""First step of the attack over its radius; steps shrink linearly to nearly 0, so that the last ones settle."""


@dataclass(frozen=True)
class Perturbations:
    """The smallest perturbation found for each image.

    Args:
        radius: norm of the smallest perturbation found (n,) float64, in [0, 1] pixels; 0 where the clean answer is
            wrong, infinite where no error was found, NaN where logits are not finite.
        x_adv: the images with it (n, C, H, W); the clean ones where nothing was found or needed.
    """

    radius: Tensor
    x_adv: Tensor


def minimal_perturbation(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    *,
    first: Tensor,
    direction: Tensor | None = None,
    n_steps: int = 10,
    n_bisections: int = 10,
    batch_size: int = 256,
) -> Perturbations:
    """Bisection over the radius of every image at once, with a projected gradient ascent on the margin at each radius.

    It gives an upper bound on the true minimal perturbation: each radius is that of an image which the model gets
    wrong, but a smaller one may exist that the ascent does not find. For an affine model it is the true one, to the
    tolerance of the bisection: until an error is found the radius doubles; the rounds that are left halve the interval.
    Each round climbs twice: from the end of the same climb in the last round (at first from the clean image), and from
    the smallest error found (at first from ``direction``), both stretched to the new radius. Of the two and
    ``direction`` itself at that radius the image with the largest margin counts. No random draw enters.

    Images (n, C, H, W) lie within the threat's pixel bounds. ``first`` (n,) is the radius to try first, such as a
    linear prediction; a close guess saves rounds, and where it is none the threat's eps is tried. ``direction`` is the
    unit perturbation to begin with (n, C, H, W): ascent from the clean image alone climbs towards the runner-up, which
    need not be the nearest class.

    Cost: for each batch one forward pass, and for the images that are right ``n_bisections`` times
    2 ``n_steps`` + 3 forward and 2 ``n_steps`` backward passes.
    """
    radius = torch.empty(len(x), dtype=torch.float64, device=x.device)
    x_adv = x.detach().clone()
    with frozen(model):
        for start in range(0, len(x), batch_size):
            part = slice(start, start + batch_size)
            with torch.no_grad():
                logits = model(x[part])
            right = logits.argmax(dim=1) == y[part]
            defined = logits.isfinite().all(dim=1)
            radius[part] = torch.zeros_like(radius[part]).where(defined, torch.nan)
            todo = (right & defined).nonzero().flatten() + start
            if len(todo):
                begin = torch.zeros_like(x[todo]) if direction is None else direction[todo].to(x.dtype)
                search = _Search(model, x[todo], y[todo], threat, first[todo], begin)
                for _ in range(n_bisections):
                    search.attempt(n_steps)
                radius[todo], x_adv[todo] = search.smallest, search.x_adv
    return Perturbations(radius, x_adv)


class _Search:
    """State of the bisection over the radius of each image."""

    def __init__(
        self, model: nn.Module, x: Tensor, y: Tensor, threat: ThreatModel, first: Tensor, direction: Tensor
    ) -> None:
        self.model, self.x, self.threat, self.loss = model, x, threat, Margin(y)
        span = threat.high - threat.low
        self.most = span if threat.norm == "linf" else span * x[0].numel() ** 0.5
        guess = first.double().to(x.device)
        usable = guess.isfinite() & (guess > 0)
        self.radius = guess.where(usable, torch.full_like(guess, threat.eps or self.most)).clamp(max=self.most)
        self.resisted = torch.zeros_like(guess)
        self.smallest = torch.full_like(guess, torch.inf)
        self.x_adv = x.clone()
        self.first_direction = self.nearest = direction
        self.climbed = torch.zeros_like(x)

    def attempt(self, n_steps: int) -> None:
        """Attack each image at its radius, update the interval, and choose the next radius."""
        radius = self.radius.to(self.x.dtype).view(-1, *([1] * (self.x.dim() - 1)))
        best, margin = self._climb(self.climbed, radius, n_steps)
        self.climbed = (best - self.x) / radius
        for direction, steps in ((self.nearest, n_steps), (self.first_direction, 0)):
            other, other_margin = self._climb(direction, radius, steps)
            best = other.where((other_margin > margin).view_as(radius), best)
            margin = margin.maximum(other_margin)
        self._conclude(best, margin > 0, radius)

    def _climb(self, direction: Tensor, radius: Tensor, n_steps: int) -> tuple[Tensor, Tensor]:
        """The image with the largest margin on the way up from a direction, and that margin (B,)."""
        x_adv = self._within(self.x + direction * radius, radius)
        best, best_margin = x_adv.clone(), self.x.new_full((len(self.x),), -torch.inf)
        for step in range(n_steps + 1):
            x_adv.requires_grad_(True)
            with torch.enable_grad():
                margin = self.loss(self.model(x_adv))
            best = x_adv.detach().where((margin.detach() > best_margin).view_as(radius), best)
            best_margin = margin.detach().maximum(best_margin)
            if step < n_steps:
                gradient = input_gradient(margin.sum(), x_adv)
                with torch.no_grad():
                    x_adv = self._step(x_adv.detach(), gradient, radius, 1 - step / n_steps)
        return best, best_margin

    def _step(self, x_adv: Tensor, gradient: Tensor, radius: Tensor, share: float) -> Tensor:
        size = FIRST_STEP * share * radius
        return self._within(x_adv + size * self.threat.steepest(gradient), radius)

    def _within(self, x_adv: Tensor, radius: Tensor) -> Tensor:
        """Projected to each image's ball and to the pixel bounds."""
        delta = x_adv - self.x
        if self.threat.norm == "linf":
            delta = delta.clamp(-radius, radius)
        else:
            delta = delta * (radius / flat_norm(delta).clamp_min(1e-12)).clamp_max(1.0)
        return (self.x + delta).clamp(self.threat.low, self.threat.high)

    def _conclude(self, best: Tensor, fooled: Tensor, radius: Tensor) -> None:
        delta = best - self.x
        order = torch.inf if self.threat.norm == "linf" else 2
        reached = delta.flatten(1).double().norm(p=order, dim=1)
        smaller = fooled & (reached < self.smallest)
        self.x_adv = best.where(smaller.view_as(radius), self.x_adv)
        self.smallest = reached.where(smaller, self.smallest)
        self.nearest = (delta / radius).where(smaller.view_as(radius), self.nearest)
        self.resisted = self.radius.where(~fooled, self.resisted).minimum(self.smallest)
        middle = (self.resisted + self.smallest) / 2
        self.radius = middle.where(self.smallest.isfinite(), (2 * self.radius).clamp(max=self.most))
