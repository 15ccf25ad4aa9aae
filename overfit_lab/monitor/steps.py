"""The optimiser's steps of an epoch in somebody else's loop, put together from readings of gradients."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from overfit_lab.training.information import slope_of, slope_values
from overfit_lab.training.tally import loss_value, norm_value, total_norm
from overfit_lab.types import Value

NORM, CLIPPED = "grad_norm_minibatch", "grad_norm_minibatch-clipped"


@dataclass
class Reading:
    """What the gradient of one optimiser's parameters came to, as scalars on the device.

    Args:
        norm: of the gradient.
        slope: d^T g, see :class:`overfit_lab.training.information.InformationTally`; None where it is not that of the
            loss, since the gradient was clipped.
        skippable: whether a gradient scaler passes the step over where the gradient is not finite.
    """

    norm: Tensor
    slope: Tensor | None
    skippable: bool


@dataclass
class Step:
    """The readings of one step, one an optimiser, and the samples of its batch where their number is known."""

    readings: list[Reading] = field(default_factory=list)
    read: set[int] = field(default_factory=set)
    n: int | None = None
    clipped: bool = False


class Steps:
    """Collects losses and gradients of an epoch; nothing is read back from the device before the epoch ends.

    Args:
        reference: theta_0 by parameter name.
        device: where scalars are kept.

    Cost: see :class:`overfit_lab.training.tally.Tally` and :class:`overfit_lab.training.information.InformationTally`.
    """

    def __init__(self, reference: Mapping[str, Tensor], device: torch.device) -> None:
        self._reference = reference
        self._device = device
        self._losses: list[Tensor] = []
        self._sizes: list[int | None] = []
        self._steps: list[Step] = []
        self._key: Hashable = None
        self.failure = ""
        """Why gradients of this epoch could not be read."""

    def begin(self, key: Hashable, optimizer: Any) -> bool | None:
        """Before a reading: True where a step begins by it, False where it goes on, None where it is read already.

        Args:
            key: what readings of one step have in common; None: each is a step.
            optimizer: whose parameters are read; None: all.
        """
        begins = key is None or not self._steps or key != self._key
        if begins:
            self._steps.append(Step())
            self._key = key
        step = self._steps[-1]
        if id(optimizer) in step.read:
            return None
        step.read.add(id(optimizer))
        return begins

    def add(self, parameters: Mapping[str, nn.Parameter], n: int | None, *, clipped: bool, skippable: bool) -> None:
        """Take in the gradient that some parameters hold, of the step that was begun last."""
        step = self._steps[-1]
        step.n = n if step.n is None else step.n
        step.clipped |= clipped
        norm = total_norm([p.grad for p in parameters.values() if p.grad is not None])
        slope = None if clipped else slope_of(parameters, self._reference)
        step.readings.append(
            Reading(norm.to(self._device), None if slope is None else slope.to(self._device), skippable)
        )

    def add_loss(self, loss: Tensor, n: int | None) -> None:
        """Take in the mean loss over n samples, a scalar."""
        self._losses.append(loss.to(self._device))
        self._sizes.append(n)

    @property
    def losses(self) -> list[Tensor]:
        """The losses that were taken in, scalars on the device."""
        return self._losses

    def values(self, n_train: int) -> tuple[list[Value], int]:
        """The numbers of the epoch, means over its steps, and how many of them a gradient scaler passed over.

        Of several optimisers a step's norm is the root of the sum of squares, its slope the sum.

        Args:
            n_train: size of the training split.

        Cost: one synchronisation with the device.
        """
        losses = torch.stack(self._losses).cpu().double() if self._losses else torch.zeros(0)
        values = loss_value(losses, self._sizes)
        taken, n_skipped = self._taken()
        for name, clipped in ((NORM, False), (CLIPPED, True)):
            steps = [(step, readings) for step, readings in taken if step.clipped is clipped]
            norms = [_joined(norm for norm, _ in readings) for _, readings in steps]
            values += norm_value(torch.tensor(norms, dtype=torch.float64), _n(steps), name)
        sloped = [(step, readings) for step, readings in taken if all(slope is not None for _, slope in readings)]
        slopes = [math.fsum(slope for _, slope in readings if slope is not None) for _, readings in sloped]
        return [*values, *slope_values(torch.tensor(slopes, dtype=torch.float64), _n(sloped), n_train)], n_skipped

    def _taken(self) -> tuple[list[tuple[Step, list[tuple[float, float | None]]]], int]:
        """The steps that were taken, each with norm and slope of its optimisers, and how many were not."""
        if self.failure:
            return [], 0
        scalars = [t for step in self._steps for r in step.readings for t in (r.norm, r.slope) if t is not None]
        known = iter(torch.stack(scalars).cpu().double().tolist() if scalars else ())
        taken, n_skipped = [], 0
        for step in self._steps:
            readings = [(next(known), None if r.slope is None else next(known), r.skippable) for r in step.readings]
            stepped = [(norm, slope) for norm, slope, skippable in readings if math.isfinite(norm) or not skippable]
            if stepped:
                taken.append((step, stepped))
            else:
                n_skipped += 1
        return taken, n_skipped


def _joined(norms: Iterable[float]) -> float:
    """The norm of parts together."""
    several = list(norms)
    return several[0] if len(several) == 1 else math.sqrt(math.fsum(norm * norm for norm in several))


def _n(steps: list[tuple[Step, list[tuple[float, float | None]]]]) -> int | None:
    """Samples of some steps together, where the number of each is known."""
    sizes = [step.n for step, _ in steps if step.n is not None]
    return sum(sizes) if len(sizes) == len(steps) else None
