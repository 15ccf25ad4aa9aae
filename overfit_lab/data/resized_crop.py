"""A random part of an image, resized (Szegedy et al. 2015, arXiv 1409.4842)."""

from __future__ import annotations

import math
import random

from torch import Tensor

from overfit_lab.data.decoding import Box, Crop, Form, refit
from overfit_lab.seeds import derive_seed

RATIO = (3 / 4, 4 / 3)
"""Least and most width over height; its logarithm is uniform."""
TRIES = 10


class ResizedCrop:
    """A part of random area and aspect ratio, at the images' size; what torchvision calls RandomResizedCrop.

    The part is a function of the seed, the epoch, the sample's index and the image's size alone. It is taken of the
    image as it is in its file, before it is brought to the set's size.

    Args:
        scale: least and most share of the image's area.
    """

    def __init__(self, seed: int, scale: tuple[float, float] = (0.08, 1.0)) -> None:
        self.seed = seed
        self.scale = scale

    def crop(self, epoch: int, index: int) -> Crop:
        """The part of a sample to take in an epoch."""
        return lambda width, height: self.box(epoch, index, width, height)

    def box(self, epoch: int, index: int, width: int, height: int) -> Box:
        """The part of an image of that size. If none of ten draws fits: the largest central one of an allowed ratio."""
        draw = random.Random(derive_seed(self.seed, "augment", "resized-crop", epoch, index)).random
        logs = math.log(RATIO[0]), math.log(RATIO[1])
        # Area and log-ratio are drawn, then both sides are rounded: a side may come out as 0 or longer than the image.
        for _ in range(TRIES):
            area = width * height * (self.scale[0] + (self.scale[1] - self.scale[0]) * draw())
            ratio = math.exp(logs[0] + (logs[1] - logs[0]) * draw())
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                # draw() is below 1, so int(n * draw()) is uniform over the n possible offsets.
                top, left = int((height - h + 1) * draw()), int((width - w + 1) * draw())
                return left, top, left + w, top + h
        w, h = width, height
        if width / height < RATIO[0]:
            h = round(width / RATIO[0])
        elif width / height > RATIO[1]:
            w = round(height * RATIO[1])
        left, top = (width - w) // 2, (height - h) // 2
        return left, top, left + w, top + h

    def __call__(self, images: Tensor, index: Tensor, epoch: int) -> Tensor:
        """Parts of images (B, C, H, W) uint8 that are as in their files, resized to (H, W).

        Cost: a resize on the CPU for each image and channel.
        """
        _, channels, height, width = images.shape
        form = Form(channels, height, width)
        return refit(images, form, [self.crop(epoch, i) for i in index.tolist()])
