"""Batches from a split in the device's memory; no workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor

from overfit_lab.data.augment import Augmenter
from overfit_lab.data.order import Order, Rows
from overfit_lab.types import Batch, Split, to_float


class Loader(Protocol):
    """Shuffled, augmented batches of each epoch; a batch depends on seed, epoch and its number alone."""

    split: Split
    batch_size: int

    @property
    def n_batches(self) -> int:
        """Batches of an epoch."""
        ...

    def indices(self, epoch: int, i: int) -> Tensor:
        """Positions in the split of the samples of a whole batch (B,) int64, on the device."""
        ...

    def epoch(self, epoch: int, *, first: int = 0, rows: Rows | None = None) -> Iterator[Batch]:
        """The batches of an epoch.

        Args:
            epoch: completed epochs.
            first: number of the first batch; above 0 where an interrupted epoch is resumed.
            rows: from a batch's size to the rows of it that this process takes; None: all.
        """
        ...


class EpochLoader:
    """Batches of a split in the device's memory; which samples they hold see :class:`overfit_lab.data.order.Order`.

    Args:
        augmenter: applied to each batch; None leaves the images as they are.
    """

    def __init__(self, split: Split, *, batch_size: int, seed: int, augmenter: Augmenter | None = None) -> None:
        self.split = split
        self.batch_size = batch_size
        self.seed = seed
        self.augmenter = augmenter
        self.order = Order(len(split), batch_size=batch_size, seed=seed, device=split.x.device)

    @property
    def n_batches(self) -> int:
        """Batches of an epoch."""
        return self.order.n_batches

    def indices(self, epoch: int, i: int) -> Tensor:
        """Positions in the split of the samples of a whole batch (B,) int64, on the device."""
        return self.order.indices(epoch, i)

    def epoch(self, epoch: int, *, first: int = 0, rows: Rows | None = None) -> Iterator[Batch]:
        """The batches of an epoch; see :meth:`Loader.epoch`."""
        for i in range(first, self.n_batches):
            index = self.order.local_indices(epoch, i, rows)
            images = self.split.x[index]
            if self.augmenter is not None:
                images = self.augmenter(images, index, epoch)
            yield Batch(x=to_float(images), y=self.split.y[index], index=index)
