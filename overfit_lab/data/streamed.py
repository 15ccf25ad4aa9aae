"""Images that stay encoded in their files until they are asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from overfit_lab.data.decoding import Crop, Form, decode
from overfit_lab.data.encoded import Chosen, EncodedImages

PIECE = 16
"""Most images that a worker decodes before it takes up another batch's."""

CropOf = Callable[[int], Crop]
"""From a sample's position in its split to the part of it that is taken."""


@dataclass(frozen=True)
class StreamedImages:
    """Stands in for the uint8 tensor (N, C, H, W) of the decoded images: length, shape, indexing, ``split``.

    Indexing gives images on the device, equal to the bit to those decoded in memory. Workers are threads
    (the decoder does not hold Python's lock): they live as long as one call, and end with it also when it raises.

    Args:
        images: the encoded images, laid out to be read in any order.
        form: what they are decoded to.
        workers: threads that decode; 0: the calling one.
    """

    images: EncodedImages
    form: Form
    device: torch.device
    workers: int = 1

    dtype = torch.uint8

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> torch.Size:
        """(N, C, H, W)."""
        return torch.Size((len(self), *self.form.shape))

    def select(self, index: Tensor) -> StreamedImages:
        """The images at positions (n,), still encoded."""
        return replace(self, images=Chosen(self.images, index))

    def __getitem__(self, which: Any) -> Tensor:
        """Decoded images at a position, a slice, or a tensor of positions or of truth values."""
        plain = isinstance(which, Tensor) and which.dtype == torch.int64 and which.dim() == 1
        positions = which.cpu() if plain else torch.arange(len(self))[_on_cpu(which)]
        single = positions.dim() == 0
        parts = positions.reshape(-1)
        images = next(iter(self.batches([parts])))
        return images[0] if single else images

    def split(self, n: int) -> Iterator[Tensor]:
        """Decoded images in parts of ``n`` in their order; the next part is decoded meanwhile."""
        return self.batches(torch.arange(len(self)).split(n), ahead=1)

    def batches(self, positions: Iterable[Tensor], *, ahead: int = 0, crop: CropOf | None = None) -> Iterator[Tensor]:
        """Decoded images (b, C, H, W) on the device for each tensor of positions (b,) int64, in their order.

        Args:
            positions: of the images of each batch; the iterator is read no sooner than needed.
            ahead: batches that are decoded while the caller works on one.
            crop: the part of each image that is taken; None: the whole.

        Raises:
            DataUnavailableError: a damaged image; the line names its file and position.
        """
        if self.workers == 0:
            for index in positions:
                buffer = self._buffer(len(index))
                self._decode(buffer.numpy(), 0, index.tolist(), crop)
                yield self._moved(buffer)
            return
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="overfit-lab-decode")
        waiting: deque[tuple[Tensor, list[Future[None]]]] = deque()
        try:
            for index in positions:
                waiting.append(self._begin(pool, index, crop))
                if len(waiting) > ahead:
                    yield self._finish(*waiting.popleft())
            while waiting:
                yield self._finish(*waiting.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _begin(self, pool: ThreadPoolExecutor, index: Tensor, crop: CropOf | None) -> tuple[Tensor, list[Future[None]]]:
        """A batch whose images are being decoded, each piece by one worker."""
        buffer, members = self._buffer(len(index)), index.tolist()
        array = buffer.numpy()
        size = max(1, min(PIECE, -(-len(members) // self.workers)))
        starts = range(0, len(members), size)
        return buffer, [pool.submit(self._decode, array, i, members[i : i + size], crop) for i in starts]

    def _finish(self, buffer: Tensor, pieces: list[Future[None]]) -> Tensor:
        for piece in pieces:
            piece.result()
        return self._moved(buffer)

    def _buffer(self, n: int) -> Tensor:
        channels, height, width = self.form.shape
        pinned = self.device.type == "cuda"
        return torch.empty((n, height, width, channels), dtype=torch.uint8, pin_memory=pinned)

    def _decode(self, array: np.ndarray, start: int, members: list[int], crop: CropOf | None) -> None:
        for row, i in enumerate(members, start):
            part = None if crop is None else crop(i)
            array[row] = decode(self.images.read(i), self.images.location(i), self.form, part)

    def _moved(self, buffer: Tensor) -> Tensor:
        """On the device, channels first. The copy runs beside the device's work where the buffer is pinned."""
        return buffer.to(self.device, non_blocking=True).permute(0, 3, 1, 2).contiguous()


CHUNK = 256
"""Images that are decoded into memory at a time."""


def decoded(images: StreamedImages, index: Tensor) -> Tensor:
    """All images at positions (n,) decoded into memory on the CPU (n, C, H, W), read in the order of their files."""
    host = replace(images, device=torch.device("cpu"))
    pixels = torch.empty((len(index), *images.form.shape), dtype=torch.uint8)
    order = index.argsort()
    places = order.split(CHUNK)
    for place, part in zip(places, host.batches((index[place] for place in places), ahead=1), strict=True):
        pixels[place] = part
    return pixels


def _on_cpu(which: Any) -> Any:
    return which.cpu() if isinstance(which, Tensor) else which
