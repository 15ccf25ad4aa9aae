"""When a run has diverged: from some step on its loss, or its weights, are no finite numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from overfit_lab.models.fitness import not_finite_weights
from overfit_lab.training.tally import Tally


@dataclass(frozen=True)
class Divergence:
    """Where a run diverged.

    Args:
        step: the first whose loss was not finite, or after which the weights were not; counted from 1.
        epoch: in which that step is, counted from 1.
    """

    step: int
    epoch: int


def divergence_in(tally: Tally, model: nn.Module, before: int, epoch: int) -> Divergence | None:
    """Whether, and where, a run diverged in an epoch that has just ended.

    Args:
        tally: of the epoch's steps.
        model: after its last step.
        before: steps before the epoch.
        epoch: completed epochs before it.

    Cost: a look at all weights and one synchronisation with the device.
    """
    index = first_not_finite(tally.losses)
    if index is None and not_finite_weights(model):
        index = first_not_finite(tally.norms)
        index = len(tally.losses) - 1 if index is None else index
    return None if index is None else Divergence(before + index + 1, epoch + 1)


def first_not_finite(scalars: Sequence[Tensor]) -> int | None:
    """Index of the first of some scalars of one device that is not finite. Cost: one synchronisation with it."""
    if not scalars:
        return None
    bad = ~torch.isfinite(torch.stack(list(scalars)))
    first = torch.where(bad.any(), bad.int().argmax(), -1)
    return None if (index := int(first)) < 0 else index
