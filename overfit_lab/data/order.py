"""The sample indices of each batch of an epoch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from overfit_lab.seeds import derive_generator

Rows = Callable[[int], slice]
"""From a batch's size to the rows of it that this process takes."""


class Order:
    """The shuffled order of each epoch, cut into batches; it depends on the seed and the epoch alone.

    The last batch may be smaller. A last batch of a single sample is left out, since batch norm has no variance of
    one sample, unless it is all there is.

    Args:
        n_samples: N, size of the split.
    """

    def __init__(self, n_samples: int, *, batch_size: int, seed: int, device: torch.device) -> None:
        self.n_samples = n_samples
        self.batch_size = batch_size
        self.seed = seed
        self.device = device
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    @property
    def n_batches(self) -> int:
        """Batches of an epoch."""
        n_full, rest = divmod(self.n_samples, self.batch_size)
        return n_full + (1 if rest > 1 or (rest == 1 and n_full == 0) else 0)

    def indices(self, epoch: int, i: int) -> Tensor:
        """Positions in the split of the samples of a whole batch (B,) int64.

        Args:
            epoch: completed epochs.
            i: number of the batch in the epoch, 0..n_batches-1.

        Raises:
            IndexError: the epoch has no such batch.

        Cost: one permutation an epoch, then a slice.
        """
        if not 0 <= i < self.n_batches:
            raise IndexError(f"batch {i}: an epoch has batches 0 to {self.n_batches - 1}")
        if epoch != self._epoch:
            stream = derive_generator(self.seed, "order", epoch)
            self._order = torch.randperm(self.n_samples, generator=stream).to(self.device)
            self._epoch = epoch
        return self._order[i * self.batch_size : (i + 1) * self.batch_size]

    def local_indices(self, epoch: int, i: int, rows: Rows | None) -> Tensor:
        """Positions of this process's rows of a batch (b,); all of them where ``rows`` is None."""
        index = self.indices(epoch, i)
        return index if rows is None else index[rows(len(index))]
