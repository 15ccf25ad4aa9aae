"""Batches from a split that lies on the device; no workers."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from overfit_lab.data.augment import Augmenter
from overfit_lab.seeds import derive_generator
from overfit_lab.types import Batch, Split, to_float


class EpochLoader:
    """Shuffled, augmented batches of each epoch; the order depends on the seed and the epoch alone.

    The last batch may be smaller. A last batch of a single sample is left out, since batch norm has no variance of
    one sample, unless it is all there is.

    Args:
        split: what to draw from.
        batch_size: samples per batch.
        seed: the run's seed.
        augmenter: applied to each batch; None leaves the images as they are.
    """

    def __init__(self, split: Split, *, batch_size: int, seed: int, augmenter: Augmenter | None = None) -> None:
        self.split = split
        self.batch_size = batch_size
        self.seed = seed
        self.augmenter = augmenter

    @property
    def n_batches(self) -> int:
        """Batches of an epoch."""
        n = len(self.split)
        whole, rest = divmod(n, self.batch_size)
        return whole + (1 if rest > 1 or (rest == 1 and whole == 0) else 0)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch.

        Args:
            epoch: completed epochs.
        """
        device = self.split.x.device
        order = torch.randperm(len(self.split), generator=derive_generator(self.seed, "order", epoch)).to(device)
        for i in range(self.n_batches):
            index = order[i * self.batch_size : (i + 1) * self.batch_size]
            images = self.split.x[index]
            if self.augmenter is not None:
                images = self.augmenter(images, index, epoch)
            yield Batch(x=to_float(images), y=self.split.y[index], index=index)
