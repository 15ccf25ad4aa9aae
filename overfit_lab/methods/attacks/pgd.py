"""Projected gradient descent (Madry et al. 2018, arXiv 1706.06083)."""

from __future__ import annotations

import copy
from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from overfit_lab.methods.attacks.base import Loss, Start
from overfit_lab.methods.attacks.gradient import input_gradient
from overfit_lab.methods.attacks.losses import LabelLoss
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.models.compute.folded import folded
from overfit_lab.models.isolation import frozen, mode, unmoved_statistics


@dataclass(eq=False)
class PGD:
    """Steepest ascent on a loss of the logits, projected after every step onto the threat model.

    Gradients are taken with respect to the images alone. With ``bn_mode="train"`` batch norm uses the batch's
    statistics, as in Rice et al. (2020), but the running statistics do not move, which theirs do.

    Args:
        step_size: length of a step in the threat's norm, in [0, 1] pixels.
        n_steps: ascent steps; 0 gives the start itself.
        n_restarts: independent starts; of each sample the image with the largest loss is kept, and where the loss is
            one of labels, an image that fools the model before one that does not.
        random_start: start from a uniform draw in the ball, else from the clean image.
        bn_mode: mode of the model during the attack.
        fold: where batch norm is in eval mode, climb on the model's folded network, which has the same logits to
            rounding (:mod:`overfit_lab.models.compute.folded`); where a model has none, on itself.

    Cost: ``n_restarts * n_steps`` forward passes and as many backward passes to the input; with several restarts one
    more forward pass each. No synchronisation with the device.
    """

    adversarial: ClassVar[bool] = True
    trains: ClassVar[bool] = True

    threat: ThreatModel
    _: KW_ONLY
    step_size: float
    n_steps: int
    n_restarts: int = 1
    random_start: bool = True
    bn_mode: Literal["eval", "train"] = "eval"
    fold: bool = True

    def __call__(
        self, model: nn.Module, x: Tensor, loss: Loss, *, generator: torch.Generator, start: Start | None = None
    ) -> Tensor:
        """Adversarial images (B, ...), detached; see :class:`overfit_lab.methods.attacks.base.Attack`."""
        with mode(model, training=self.bn_mode == "train"), unmoved_statistics(model), frozen(model):
            ascended = self.ascended(model, x)
            best = self._climb(ascended, x, loss, generator, start)
            if self.n_restarts == 1:
                return best
            best_rank = self._rank(ascended, best, loss)
            for _ in range(self.n_restarts - 1):
                other = self._climb(ascended, x, loss, generator, start)
                other_rank = self._rank(ascended, other, loss)
                # An image that fools the model beats one that does not; among equals the larger loss wins.
                better = torch.where(other_rank[0] == best_rank[0], other_rank[1] > best_rank[1], other_rank[0])
                best = torch.where(better.view(-1, *([1] * (x.dim() - 1))), other, best)
                best_rank = tuple(torch.where(better, o, b) for o, b in zip(other_rank, best_rank, strict=True))
        return best

    @property
    def n_calls(self) -> int:
        """How often the model is called for a batch."""
        return self.n_restarts * (self.n_steps + (self.n_restarts > 1))

    def scaled(self, factor: float) -> Self:
        """The same attack with radius and step times ``factor``."""
        threat = replace(self.threat, eps=self.threat.eps * factor)
        return replace(self, threat=threat, step_size=self.step_size * factor)

    def brief(self) -> PGD:
        """The same attack with one step and no more than two starts."""
        shortened = copy.copy(self)
        shortened.n_steps, shortened.n_restarts = min(self.n_steps, 1), min(self.n_restarts, 2)
        return shortened

    def ascended(self, model: nn.Module, x: Tensor) -> nn.Module:
        """The network whose loss the attack climbs: the model's folded one, if wanted and possible.

        Args:
            x: images (B, C, H, W) such as will be attacked.
        """
        if not self.fold or self.bn_mode == "train" or self.n_steps == 0:
            return model
        return folded(model, x) or model

    def _climb(
        self, model: nn.Module, x: Tensor, loss: Loss, generator: torch.Generator, start: Start | None
    ) -> Tensor:
        # Handed over without a name here, which would hold the start's memory all the way.
        return self.ascend(model, self._begin(x, generator, start), x, loss)

    def _begin(self, x: Tensor, generator: torch.Generator, start: Start | None) -> Tensor:
        if start is not None:
            return self.threat.project(start(x, generator), x).detach()
        return self.threat.random_start(x, generator) if self.random_start else x.detach().clone()

    def ascend(self, model: nn.Module, x_adv: Tensor, x: Tensor, loss: Loss) -> Tensor:
        """The images that the steps lead to from ``x_adv``, detached; draws no random numbers.

        Args:
            model: maps images to logits, in the attack's mode.
            x_adv: images within the threat model (B, C, H, W); a graph of its own begins at them.
            x: the clean ones.
            loss: what to maximise.
        """
        for _ in range(self.n_steps):
            x_adv.requires_grad_(True)
            with torch.enable_grad():  # evaluations call the attack under no_grad
                # A sum: no sample's gradient depends on the others, or on how many there are. Logits in float32: a loss
                # in half precision loses small differences, and with them the gradient's signs.
                total = loss(model(x_adv).float()).sum()
            gradient = input_gradient(total, x_adv)
            with torch.no_grad():
                x_adv = self.threat.project(self.threat.ascend(x_adv.detach(), gradient, self.step_size), x)
        return x_adv.detach()

    @torch.no_grad()
    def _rank(self, model: nn.Module, x_adv: Tensor, loss: Loss) -> tuple[Tensor, ...]:
        """Whether an image fools the model (never, where the loss knows no labels), and its loss; each (B,)."""
        logits = model(x_adv).float()
        losses = loss(logits)
        fooled = loss.fooled(logits) if isinstance(loss, LabelLoss) else torch.zeros_like(losses, dtype=torch.bool)
        return fooled, losses


REGISTER = {"pgd": PGD}
