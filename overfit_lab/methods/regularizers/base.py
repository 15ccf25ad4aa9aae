"""The base class of regularizers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from overfit_lab import config
from overfit_lab.methods.objectives.base import Objective
from overfit_lab.processes.share import Share
from overfit_lab.processes.world import ALONE
from overfit_lab.types import Batch, Clock, Memory, Outputs, Predict, Split, Targets, Value

if TYPE_CHECKING:
    from overfit_lab.methods.combination import Combination


@dataclass(frozen=True)
class RegularizerContext:
    """What a regularizer is built with.

    Args:
        has_validation: whether the data have a validation split.
        teacher: gives a teacher by its name; see :class:`overfit_lab.methods.teachers.Teachers`.
    """

    model: nn.Module
    train: Split
    n_epochs: int
    seed: int
    robust: bool
    has_validation: bool
    teacher: Callable[[str], Predict]


@dataclass(frozen=True)
class Step:
    """One training step after its attack, before its loss.

    Args:
        model: in train mode.
        x_adv: its adversarial images; the clean ones where there is no attack.
        full_batch: the batch over all processes, for which targets are asked; this one where there is one process.
        share: the part of the full batch that this batch is.
        all_reduce: replaces tensors by their sums over processes.
    """

    model: nn.Module
    batch: Batch
    x_adv: Tensor
    targets: Targets
    objective: Objective
    clock: Clock
    autocast: Callable[[], AbstractContextManager[object]]
    full_batch: Batch
    share: Share
    all_reduce: Callable[[Sequence[Tensor]], None] = ALONE.all_reduce

    def objective_loss(self) -> Tensor:
        """The objective's loss at the model's present weights, with gradients; a scalar."""
        with self.autocast():
            return self.objective.loss(self.objective.forward(self.model, self.batch, self.x_adv), self.targets)

    def gradients(self, weights: Sequence[nn.Parameter]) -> list[Tensor | None]:
        """Gradients of the objective's loss on the full batch, also where processes share it; None where unused."""
        loss = self.share.weighted(self.objective_loss())
        gradients: list[Tensor | None] = list(torch.autograd.grad(loss, weights, allow_unused=True))
        self.all_reduce([gradient for gradient in gradients if gradient is not None])
        return gradients


class Regularizer(Memory):
    """Takes part in every step where it overrides a method; all of them do nothing here.

    The methods are called in the order in which they stand. Several regularizers are applied in the order in which
    the configuration lists them. A regularizer that keeps a second set of weights returns True from ``second_weights``;
    they are evaluated and probed beside the raw ones, under its name.
    """

    Options: ClassVar[type[config.Options]] = config.Options
    mixes_samples: ClassVar[bool] = False
    """Whether an image of the batch is made of several samples."""
    kind = "regularizer memory"

    def __init__(self, options: config.Options, context: RegularizerContext) -> None:
        self.options, self.context = options, context

    @classmethod
    def settle(cls, options: config.Options, run: Combination) -> config.Options:
        """Fill in the options whose defaults depend on the rest of the run."""
        return options

    @classmethod
    def refuse(cls, options: config.Options, run: Combination) -> str | None:
        """Why this makes no sense in that run, in a few words; None where it does."""
        return None

    def batch(self, batch: Batch, clock: Clock) -> Batch:
        """The batch to train on, before the attack."""
        return batch

    def targets(self, targets: Targets) -> Targets:
        """The targets that go with the images of :meth:`batch`."""
        return targets

    def perturbed(self, step: Step) -> AbstractContextManager[object]:
        """A context in which the step's forward and backward passes are made."""
        return nullcontext()

    def loss(self, loss: Tensor, step: Step, outputs: Outputs) -> Tensor:
        """The scalar to minimise in place of the objective's."""
        return loss

    def stepped(self, clock: Clock) -> None:
        """The optimiser has taken a step."""

    def epoch_ended(self, clock: Clock) -> None:
        """The last step of an epoch is taken; ``clock.epoch`` counts it."""

    def evaluated(self, values: list[Value], clock: Clock) -> None:
        """Clean and robust accuracy of the raw weights were measured."""

    @property
    def finished(self) -> bool:
        """Whether training is to end here."""
        return False

    @property
    def drawn_at(self) -> int | None:
        """The epoch whose random draws the second weights are measured with; None: the present one."""
        return None

    @torch.no_grad()
    def second_weights(self, model: nn.Module) -> bool:
        """Put the second set of weights, with buffers that go with it, into a copy of the model.

        Returns:
            False, and the copy as it was, where there is none (yet).
        """
        return False
