"""Batches from a streamed split."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from overfit_lab.data.augment import Augmenter
from overfit_lab.data.order import Order, Rows
from overfit_lab.data.streamed import StreamedImages
from overfit_lab.types import Batch, Split, to_float


class StreamLoader:
    """The batches that :class:`overfit_lab.data.loader.EpochLoader` gives of the decoded images, to the bit.

    Workers decode batches ahead while the device works on one. Batches before ``first`` and rows of other processes are
    not decoded.

    Args:
        split: what to draw from; its images are streamed.
        augmenter: applied to each batch; its resized crop is taken when an image is decoded.
        prefetch: batches that are decoded ahead.
    """

    def __init__(
        self, split: Split, *, batch_size: int, seed: int, augmenter: Augmenter | None = None, prefetch: int = 2
    ) -> None:
        if not isinstance(split.x, StreamedImages):
            raise TypeError("the split's images are decoded; EpochLoader draws from those")
        self.split = split
        self.images = split.x
        self.batch_size = batch_size
        self.seed = seed
        self.augmenter = augmenter
        self.prefetch = prefetch
        self.order = Order(len(split), batch_size=batch_size, seed=seed, device=torch.device("cpu"))

    @property
    def n_batches(self) -> int:
        """Batches of an epoch."""
        return self.order.n_batches

    def indices(self, epoch: int, i: int) -> Tensor:
        """Positions in the split of the samples of a whole batch (B,) int64, on the device."""
        return self.order.indices(epoch, i).to(self.images.device)

    def epoch(self, epoch: int, *, first: int = 0, rows: Rows | None = None) -> Iterator[Batch]:
        """The batches of an epoch; see :meth:`overfit_lab.data.loader.Loader.epoch`.

        Raises:
            DataUnavailableError: a damaged image; the line names its file and position.
        """
        numbers = range(first, self.n_batches)
        zoom = self.augmenter.resized_crop if self.augmenter is not None else None
        crop = None if zoom is None else lambda i: zoom.crop(epoch, i)
        wanted = (self.order.local_indices(epoch, i, rows) for i in numbers)
        decoded = self.images.batches(wanted, ahead=self.prefetch, crop=crop)
        for i, images in zip(numbers, decoded, strict=True):
            # Asked for again: `wanted` is already ahead by the batches that are being decoded.
            index = self.order.local_indices(epoch, i, rows).to(images.device, non_blocking=True)
            if self.augmenter is not None:
                images = self.augmenter.after_resized_crop(images, index, epoch)
            yield Batch(x=to_float(images), y=self.split.y[index], index=index)
