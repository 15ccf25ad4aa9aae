"""Explicit penalties on the weights (Rice et al. 2020, arXiv 2002.11569, compare them in adversarial training)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from overfit_lab import config
from overfit_lab.methods.regularizers.base import Regularizer, Step
from overfit_lab.types import Outputs


class L1Options(config.Options):
    """Options of the l1 penalty."""

    weight: float = Field(5e-6, ge=0, description="weight of the sum of absolute values")


class L2Options(config.Options):
    """Options of the l2 penalty."""

    weight: float = Field(5e-3, ge=0, description="weight of half the sum of squares, as weight decay has it")


class L1(Regularizer):
    """loss + weight ||w||_1 over the weights with more than one dimension (no biases, no batch norm)."""

    Options = L1Options
    options: L1Options

    def loss(self, loss: Tensor, step: Step, outputs: Outputs) -> Tensor:
        """The loss with the penalty."""
        return loss + self.options.weight * torch.stack([w.abs().sum() for w in matrices(step.model)]).sum()


class L2(Regularizer):
    """loss + weight/2 ||w||_2^2 over the weights with more than one dimension (no biases, no batch norm).

    It comes on top of ``optimizer.weight_decay``, which acts on all parameters.
    """

    Options = L2Options
    options: L2Options

    def loss(self, loss: Tensor, step: Step, outputs: Outputs) -> Tensor:
        """The loss with the penalty."""
        return loss + self.options.weight / 2 * torch.stack([w.square().sum() for w in matrices(step.model)]).sum()


def matrices(model: nn.Module) -> list[nn.Parameter]:
    """Trainable parameters with more than one dimension."""
    return [p for p in model.parameters() if p.requires_grad and p.dim() > 1]


REGISTER = {"l1": L1, "l2": L2}
