"""AWP: adversarial weight perturbation (Wu, Xia, Wang 2020, arXiv 2004.05884)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from pydantic import Field

from overfit_lab import config
from overfit_lab.config import Moment, resolve_moment
from overfit_lab.methods.combination import Combination
from overfit_lab.methods.regularizers.base import Regularizer, RegularizerContext, Step
from overfit_lab.methods.threat import brought_to_one
from overfit_lab.models.isolation import unmoved_statistics

BY_OBJECTIVE: dict[str, tuple[float, Moment]] = {"trades": (5e-3, "5%")}
OTHERWISE: tuple[float, Moment] = (1e-2, 0)
"""The authors' gamma and warm-up: 10 of 200 epochs for TRADES, none for adversarial training."""


class AwpOptions(config.Options):
    """Options of adversarial weight perturbation."""

    gamma: float | None = Field(
        None, ge=0, description="size relative to each layer; null: 0.005 for trades, else 0.01"
    )
    start_epoch: Moment | None = Field(None, description="no perturbation before it; null: 5% for trades, else 0")


class Awp(Regularizer):
    """The gradient is taken at weights that were moved up the objective's loss, layer by layer.

    The move is::

        v_l = gamma ||w_l|| g_l / ||g_l||,    g = grad_w loss(w) on the step's adversarial images

    for every weight with more than one dimension. Then the weights are put back to the bit, and the optimiser steps
    from there. In the authors' code the weights are put back after the optimiser's step, by subtraction; the two
    differ by weight decay on v. Batch-norm statistics do not move while g is computed.

    Cost: one more forward and backward pass of the objective a step, and a copy of the weights.
    """

    Options = AwpOptions

    def __init__(self, options: AwpOptions, context: RegularizerContext) -> None:
        super().__init__(options, context)
        self.gamma = OTHERWISE[0] if options.gamma is None else options.gamma
        start = OTHERWISE[1] if options.start_epoch is None else options.start_epoch
        self.start_epoch = resolve_moment(start, context.n_epochs)

    @classmethod
    def settle(cls, options: config.Options, run: Combination) -> config.Options:
        """Size and warm-up that the authors use with the objective."""
        gamma, start_epoch = BY_OBJECTIVE.get(run.config.objective.name, OTHERWISE)
        chosen = {name: value for name, value in options.model_dump().items() if value is not None}
        return cls.Options.model_validate({"gamma": gamma, "start_epoch": start_epoch, **chosen})

    @contextmanager
    def perturbed(self, step: Step) -> Iterator[None]:
        """Perturbed weights inside, the same weights as before on leaving, also when it raises."""
        if step.clock.epoch < self.start_epoch or self.gamma == 0:
            yield
            return
        weights = [p for p in step.model.parameters() if p.requires_grad and p.dim() > 1]
        # The objective's own forward pass follows, and only that one may move the running statistics.
        with unmoved_statistics(step.model):
            gradients = step.gradients(weights)
        originals = [w.detach().clone() for w in weights]
        try:
            with torch.no_grad():
                for weight, gradient in zip(weights, gradients, strict=True):
                    if gradient is not None:
                        upwards = brought_to_one(gradient[None])[0]
                        weight.add_(upwards * (self.gamma * weight.norm() / upwards.norm().clamp_min(1e-20)))
            yield
        finally:
            # Before the optimiser's step, and so before averages (SWA, EMA) see the weights. Copied back: w + v - v is
            # not w in its last bits.
            with torch.no_grad():
                for weight, value in zip(weights, originals, strict=True):
                    weight.copy_(value)


REGISTER = {"awp": Awp}
