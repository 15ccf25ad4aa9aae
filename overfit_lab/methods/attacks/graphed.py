"""PGD whose whole ascent is one CUDA graph."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import Tensor, nn

from overfit_lab.methods.attacks.base import Attack, Loss
from overfit_lab.methods.attacks.gradient import add_not_finite, counting_not_finite
from overfit_lab.methods.attacks.pgd import PGD
from overfit_lab.models.compute.compiled import reason_of
from overfit_lab.models.compute.graphs import Capture, Graphs, cuda_capture
from overfit_lab.types import Batch, Targets

logger = logging.getLogger(__name__)

MakeLoss = Callable[[Batch, Targets], Loss]
"""The loss that an attack climbs, of a batch and its targets, made anew at each call."""


class GraphedAscents:
    """The ascents of a run's training attack, captured.

    A capture holds for one network, one form of batch and targets, and one weight of a consistency term. Random starts
    are drawn, and the folded network's weights refreshed, before each replay.

    Args:
        make_loss: gives the loss. What it reads besides batch and targets has to stay where it lies, as a network's
            weights do.
        capture: captures on this kind of device.

    ``failed`` says in a line why an ascent could not be captured; from then on all of them run as they are.
    """

    def __init__(self, make_loss: MakeLoss, capture: Capture = cuda_capture) -> None:
        self.make_loss = make_loss
        self.graphs = Graphs(capture)
        self.failed: str | None = None

    def of(self, attack: Attack, batch: Batch, targets: Targets) -> Attack:
        """The attack on this batch, replaying its ascents; itself where none can be captured, or it is not PGD."""
        if self.failed is not None or type(attack) is not PGD or attack.n_steps == 0:
            return attack
        settings = {field.name: getattr(attack, field.name) for field in fields(PGD)}
        return _GraphedPGD(**settings, ascents=self, batch=batch, targets=targets)

    def ascend(self, attack: PGD, model: nn.Module, x_adv: Tensor, batch: Batch, targets: Targets) -> Tensor:
        """Images (B, C, H, W) that the attack reaches from a start.

        Raises:
            Exception: what it does cannot be captured.
        """
        names, tensors = _tensors_of(batch, targets)
        settings = tuple(getattr(attack, field.name) for field in fields(PGD))

        def body(inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
            start, *rest = inputs
            held = dict(zip(names, rest, strict=True))
            there, wanted = _with_tensors(batch, targets, held)
            # Made anew: a loss may remember what it computed the first time, such as predictions on the clean images.
            loss = self.make_loss(there, wanted)
            with counting_not_finite(alone=True) as counter:
                reached = PGD.ascend(attack, model, start.detach(), there.x, loss)
            return reached, counter.total(reached)

        key = (model, settings, names, targets.consistency_weight)
        reached, n_not_finite = self.graphs.run(key, [x_adv, *tensors], body)
        add_not_finite(n_not_finite)
        return reached


@dataclass(eq=False)
class _GraphedPGD(PGD):
    """PGD on one batch whose ascents are replayed."""

    ascents: GraphedAscents
    batch: Batch
    targets: Targets

    def ascend(self, model: nn.Module, x_adv: Tensor, x: Tensor, loss: Loss) -> Tensor:
        """As a replay; where that fails, as it is, from then on."""
        if self.ascents.failed is None:
            try:
                return self.ascents.ascend(self, model, x_adv, self.batch, self.targets)
            except Exception as error:
                self.ascents.failed = reason_of(error)
                logger.warning("overfit-lab: attack not captured: %s; training goes on without", self.ascents.failed)
        return super().ascend(model, x_adv, x, loss)


def _tensors_of(batch: Batch, targets: Targets) -> tuple[tuple[str, ...], list[Tensor]]:
    """The tensors of a batch and its targets, with names."""
    named = {f"batch.{name}": value for name, value in vars(batch).items()}
    named |= {f"targets.{name}": value for name, value in vars(targets).items()}
    there = {name: value for name, value in named.items() if isinstance(value, Tensor)}
    return tuple(there), list(there.values())


def _with_tensors(batch: Batch, targets: Targets, held: dict[str, Tensor]) -> tuple[Batch, Targets]:
    """The same batch and targets with other tensors of these names."""
    parts: dict[str, dict[str, Any]] = {"batch": {}, "targets": {}}
    for name, tensor in held.items():
        part, _, attribute = name.partition(".")
        parts[part][attribute] = tensor
    return replace(batch, **parts["batch"]), replace(targets, **parts["targets"])
