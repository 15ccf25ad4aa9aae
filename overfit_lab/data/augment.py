"""Augmentation of whole batches on the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from overfit_lab.data.resized_crop import ResizedCrop
from overfit_lab.errors import ConfigError
from overfit_lab.seeds import derive_generator

DRAWN = ("crop", "flip", "cutout")


class Augmenter:
    """Resized crop, random crop with zero padding, horizontal flip and cutout (DeVries and Taylor 2017), in this order.

    What happens to a sample in an epoch depends on the seed, the epoch and the sample's index alone: it is the same in
    any batch, in any order and under any number of processes.

    Args:
        names: any of ``"resized-crop"``, ``"crop"``, ``"flip"``, ``"cutout"``.
        n_samples: N, size of the split.
        shape: shape of an image (C, H, W).
        padding: zero pixels on each side before the crop.
        cutout_size: side of the square that cutout sets to zero; it may reach over the edge.
        crop_scale: least and most share of the area that a resized crop takes.

    Raises:
        ConfigError: a square or a padding that does not go with the images' size.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        n_samples: int,
        shape: tuple[int, int, int],
        seed: int,
        padding: int = 4,
        cutout_size: int = 8,
        crop_scale: tuple[float, float] = (0.08, 1.0),
    ) -> None:
        smallest = min(shape[1:])
        if "cutout" in names and cutout_size > smallest:
            raise ConfigError(f"data.cutout_size = {cutout_size}: larger than the images, {shape[1]}x{shape[2]}")
        if "crop" in names and padding > smallest:
            raise ConfigError(f"data.crop_padding = {padding}: larger than the images, {shape[1]}x{shape[2]}")
        self.names = tuple(names)
        self.resized_crop = ResizedCrop(seed, crop_scale) if "resized-crop" in names else None
        self.n_samples = n_samples
        self.shape = shape
        self.seed = seed
        self.padding = padding
        self.cutout_size = cutout_size
        self._epoch = -1
        self._draws: dict[str, Tensor] = {}

    def __call__(self, images: Tensor, index: Tensor, epoch: int) -> Tensor:
        """Augmented images.

        Args:
            images: (B, C, H, W) uint8.
            index: position of each in its split (B,).
            epoch: completed epochs.

        Returns:
            (B, C, H, W) uint8.
        """
        if self.resized_crop is not None:
            images = self.resized_crop(images, index, epoch)
        return self.after_resized_crop(images, index, epoch)

    def after_resized_crop(self, images: Tensor, index: Tensor, epoch: int) -> Tensor:
        """The augmentations that follow the resized crop, which a streamed image gets when it is decoded."""
        if epoch != self._epoch:
            # Drawn for all N samples at once: a sample's draw depends neither on its batch nor on the other processes.
            self._draws = {name: self._draw(name, epoch).to(images.device) for name in self.names if name in DRAWN}
            self._epoch = epoch
        if "crop" in self.names:
            images = crop(images, self._draws["crop"][index], self.padding)
        if "flip" in self.names:
            flipped = self._draws["flip"][index].view(-1, 1, 1, 1)
            images = torch.where(flipped, images.flip(3), images)
        if "cutout" in self.names:
            images = cutout(images, self._draws["cutout"][index], self.cutout_size)
        return images

    def _draw(self, name: str, epoch: int) -> Tensor:
        """What happens to each of the N samples in an epoch."""
        stream = derive_generator(self.seed, "augment", name, epoch)
        n, (_, height, width) = self.n_samples, self.shape
        if name == "flip":
            return torch.rand(n, generator=stream) < 0.5
        if name == "crop":
            return torch.randint(2 * self.padding + 1, (n, 2), generator=stream)
        rows = torch.randint(height, (n,), generator=stream)
        columns = torch.randint(width, (n,), generator=stream)
        return torch.stack([rows, columns], dim=1)


def crop(images: Tensor, offsets: Tensor, padding: int) -> Tensor:
    """Windows of the images' own size, at ``offsets`` (B, 2) in 0..2 padding of the zero-padded images."""
    n, _, height, width = images.shape
    padded = functional.pad(images, (padding,) * 4)
    rows = offsets[:, :1] + torch.arange(height, device=images.device)
    columns = offsets[:, 1:] + torch.arange(width, device=images.device)
    samples = torch.arange(n, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[samples, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def cutout(images: Tensor, centres: Tensor, size: int) -> Tensor:
    """Squares of ``size`` around ``centres`` (B, 2) set to zero, cut off at the edges."""
    _, _, height, width = images.shape
    start = centres - size // 2
    rows = torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device)
    in_rows = (rows >= start[:, :1]) & (rows < start[:, :1] + size)
    in_columns = (columns >= start[:, 1:]) & (columns < start[:, 1:] + size)
    hole = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    return images.masked_fill(hole, 0)
