"""Decodes images to the size and channels of their set."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from overfit_lab.data.encoded import EncodedImages
from overfit_lab.errors import DataUnavailableError
from overfit_lab.files.limits import IMAGE_PIXELS

FORMATS = ("JPEG", "PNG", "BMP", "PPM", "WEBP", "GIF", "TIFF")
"""What is decoded. Nothing that a decoder would hand to another program, such as PostScript."""
DEEP = ("I", "F")
"""How Pillow's modes of more than 8 bits a channel begin; converting them cuts off what is above 255."""
HEADERS = 16
"""Images that are opened to see whether a set is in colour."""

Box = tuple[int, int, int, int]
"""Left, top, right and lower edge of a part of an image, in pixels."""
Crop = Callable[[int, int], Box]
"""From an image's width and height to the part of it that is taken."""


@dataclass(frozen=True)
class Form:
    """Shape of a set's decoded images, and how they are brought to it.

    Args:
        channels: 1 or 3; grey images among coloured ones are made coloured.
        shorter_side: length that the shorter side is resized to before the centre is cut out; None: images are of
            that size already, and others are refused.
        first: location of the image whose size was taken, for messages.
    """

    channels: int
    height: int
    width: int
    shorter_side: int | None = None
    first: str = ""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.height, self.width


def form_of(images: EncodedImages, *, image_size: int | None = None, shorter_side: int | None = None) -> Form:
    """The form of a set's decoded images.

    Args:
        image_size: side of the square that is cut out of the centre; None: images as they are.
        shorter_side: length of the shorter side before that; None: ``image_size``.

    Raises:
        DataUnavailableError: there is no image, or one of those opened is damaged.

    Cost: the headers of 16 images, evenly spread.
    """
    if len(images) == 0:
        raise DataUnavailableError("the files hold no image")
    spread = np.linspace(0, len(images) - 1, min(HEADERS, len(images))).astype(int).tolist()
    coloured, size = False, (0, 0)
    for i in spread:
        with opened(images.read(i), images.location(i)) as image:
            coloured = coloured or image.mode != "L"
            size = image.size if i == 0 else size
    channels = 3 if coloured else 1
    if image_size is None:
        return Form(channels, size[1], size[0], first=images.location(0))
    return Form(channels, image_size, image_size, shorter_side if shorter_side is not None else image_size)


def decode(encoded: bytes, location: str, form: Form, crop: Crop | None = None) -> np.ndarray:
    """The pixels of an image (H, W, C) uint8.

    Args:
        crop: the part of the image in the file to take and resize; None: the image itself, or its centre once
            resized.

    Raises:
        DataUnavailableError: damaged, no image, or not of the set's size; one line.
    """
    with opened(encoded, location) as image:
        try:
            image.load()
            plain = image if image.mode in ("L", "RGB") else image.convert("RGB")
        except MemoryError:
            raise
        except Exception as error:
            raise damaged(location, error) from error
        n_channels = 1 if plain.mode == "L" else 3
        if n_channels > form.channels or (form.shorter_side is None and plain.size != (form.width, form.height)):
            actual = _describe(plain.width, plain.height, n_channels)
            expected = _describe(form.width, form.height, form.channels)
            raise DataUnavailableError(
                f"{location}: {actual}, but {form.first or 'the set'} is {expected}; "
                "images of different sizes need data.image_size"
            )
        if n_channels < form.channels:
            plain = plain.convert("RGB")
        array = np.asarray(fitted(plain, form, crop))
    return array if array.ndim == 3 else array[:, :, None]


def opened(encoded: bytes, location: str) -> Any:
    """An image whose header is read.

    Raises:
        DataUnavailableError: no image, or one of more pixels than an honest set has.
    """
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(encoded), formats=FORMATS)
    except MemoryError:
        raise
    except Exception as error:
        raise damaged(location, error) from error
    if image.width * image.height > IMAGE_PIXELS:
        raise DataUnavailableError(
            f"{location}: an image of {image.width}x{image.height}; expected {IMAGE_PIXELS} pixels at most"
        )
    if image.mode.startswith(DEEP):
        raise DataUnavailableError(
            f"{location}: an image of more than 8 bits a channel (mode {image.mode}); make it one of 8 bits"
        )
    return image


def damaged(location: str, error: Exception) -> DataUnavailableError:
    """The error for an image that cannot be decoded; decoders raise a dozen kinds."""
    kind = type(error).__name__
    reason = "unknown format" if kind == "UnidentifiedImageError" else (str(error) or kind).splitlines()[0]
    return DataUnavailableError(f"{location}: damaged, or no image ({reason})")


def fitted(image: Any, form: Form, crop: Crop | None = None) -> Any:
    """An image at the set's size; bilinear with antialiasing, as torchvision's transforms are by default."""
    from PIL.Image import Resampling

    if crop is not None:
        part = image.crop(crop(*image.size))
        return part.resize((form.width, form.height), Resampling.BILINEAR)
    if form.shorter_side is None:
        return image
    # int() and round() as torchvision's Resize and CenterCrop have them, so that the pixels agree with theirs.
    width, height = image.size
    if width <= height:
        size = form.shorter_side, int(form.shorter_side * height / width)
    else:
        size = int(form.shorter_side * width / height), form.shorter_side
    resized = image if size == image.size else image.resize(size, Resampling.BILINEAR)
    left, top = round((size[0] - form.width) / 2), round((size[1] - form.height) / 2)
    return resized.crop((left, top, left + form.width, top + form.height))


def refit(images: Tensor, form: Form, crops: list[Crop] | None = None) -> Tensor:
    """Decoded images (N, C, H, W) uint8 brought to the set's size, channel by channel where there are not 1 or 3.

    Args:
        images: on any device.
        form: of the result; its channels are ignored.
        crops: the part of each that is taken; None: the centre.

    Cost: a resize on the CPU for each image.
    """
    from PIL import Image

    resized = torch.empty((len(images), images.shape[1], form.height, form.width), dtype=torch.uint8)
    arrays = images.cpu().numpy()
    for i, planes in enumerate(arrays):
        crop = None if crops is None else crops[i]
        for channel, plane in enumerate(planes):
            resized[i, channel] = torch.from_numpy(np.array(fitted(Image.fromarray(plane), form, crop)))
    return resized.to(images.device)


def _describe(width: int, height: int, channels: int) -> str:
    return f"{width}x{height} with {channels} channel{'s' if channels > 1 else ''}"
