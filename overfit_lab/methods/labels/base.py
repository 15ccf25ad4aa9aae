"""The base class of label modes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from overfit_lab import config
from overfit_lab.methods.labels.rows import Initial, Rows, on_device, on_disk
from overfit_lab.types import Batch, Clock, Memory, Outputs, Predict, Targets

if TYPE_CHECKING:
    from overfit_lab.methods.combination import Combination


DEFAULT_LIMIT = 10**9


class Refresh(Enum):
    """The moment of a step at which a label mode takes in the model's outputs."""

    NEVER = "never"
    BEFORE_ATTACK = "before the attack"
    AFTER_FORWARD = "after the training forward"


class CleanForward(Enum):
    """How logits on clean images are computed for a label mode that needs them beside the training forward."""

    NONE = "none"
    EVAL = "eval"
    """Batch norm uses its running statistics."""
    FROZEN = "frozen"
    """Batch norm uses the batch's statistics; the running ones do not move."""
    TRAIN = "train"
    """Batch norm uses the batch's statistics and moves the running ones a second time in the step."""


@dataclass(frozen=True)
class LabelContext:
    """What a label mode is built with.

    Args:
        labels: given labels of the whole training split (N,) int64, on the device.
        teacher: gives another model's predictions by its name; see :class:`overfit_lab.methods.teachers.Teachers`.
        place: ``"device"`` or ``"disk"``, where a mode keeps its rows; ``"auto"``: on disk beyond ``limit``.
        limit: most bytes of rows on the device under ``"auto"``.
    """

    labels: Tensor
    n_classes: int
    n_epochs: int
    teacher: Callable[[str], Predict] | None = None
    place: str = "auto"
    limit: int = DEFAULT_LIMIT

    def rows(self, initial: Initial) -> Rows:
        """Memory of one row (K,) a training sample, on the device or on disk; equal to the bit on both.

        Args:
            initial: the first rows of a slice of the samples (b, K) float32; called piece by piece.

        Raises:
            ConfigError: there is no room on disk.

        Cost: N x K floats on the device or on disk.
        """
        n = len(self.labels)
        on_a_file = self.place == "disk" or (self.place == "auto" and 4 * n * self.n_classes > self.limit)
        return (on_disk if on_a_file else on_device)(n, self.n_classes, initial, self.labels.device)

    def one_hot_rows(self) -> Rows:
        """Rows that begin as e_y of the given labels."""
        return self.rows(lambda part: one_hot(self.labels[part], self.n_classes))


class LabelMode(Memory, ABC):
    """Maps a batch to a target distribution. ``update`` is the only method that changes anything.

    A mode with memory keeps one row per training sample, which it asks ``context.rows`` for, looked up by
    ``batch.index``; its whole memory is in ``state_dict``, so that a resumed run has the same rows.
    """

    Options: ClassVar[type[config.Options]] = config.Options
    refresh: ClassVar[Refresh] = Refresh.NEVER
    sees_images: ClassVar[bool] = True
    """Whether ``update`` looks at a batch's images; where it does not, several processes need not exchange them."""
    kind = "label memory"

    def __init__(self, options: config.Options, context: LabelContext) -> None:
        self.context = context

    @classmethod
    def refuse(cls, options: config.Options, run: Combination) -> str | None:
        """Why this mode makes no sense in that run, in a few words; None where it does."""
        return None

    @property
    def clean_forward(self) -> CleanForward:
        """How logits on clean images are computed for ``update``, if the objective does not compute them."""
        return CleanForward.NONE

    def active(self, clock: Clock) -> bool:
        """Whether ``update`` is to be called at this moment."""
        return self.refresh is not Refresh.NEVER

    def update(self, batch: Batch, outputs: Outputs, clock: Clock) -> None:
        """Take in the model's outputs on a batch (outputs are detached)."""

    @abstractmethod
    def targets(self, batch: Batch, clock: Clock) -> Targets:
        """The target distribution of a batch (B, K); changes nothing."""


def one_hot(y: Tensor, n_classes: int) -> Tensor:
    """Rows e_y (B, K) float32 for labels (B,)."""
    return functional.one_hot(y, n_classes).to(torch.float32)
