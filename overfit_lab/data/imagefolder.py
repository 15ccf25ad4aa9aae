"""Images in folders, one folder a class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from overfit_lab.data.base import RawData, confusions_of, statistics_of
from overfit_lab.data.parquet import decode
from overfit_lab.errors import DataUnavailableError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".webp"}


def imagefolder(argument: str, *, root: Path | None, download: bool) -> RawData:
    """``imagefolder:DIR``: train/CLASS/*.png and test/CLASS/*.png (or val/), else DIR/CLASS/*.png as one pool."""
    folder = Path(argument).expanduser()
    if not argument or not folder.is_dir():
        raise DataUnavailableError(f"imagefolder:{argument}: no such folder; expected imagefolder:DIR")
    train = folder / "train"
    test = next((folder / name for name in ("test", "val") if (folder / name).is_dir()), None)
    pooled = not train.is_dir()
    base = folder if pooled else train
    classes = _folders(base)
    if not classes:
        raise DataUnavailableError(f"imagefolder:{argument}: {base} has no folder of a class")
    if test is not None and not pooled:
        stray = sorted(set(_folders(test)) - set(classes))
        if stray:
            raise DataUnavailableError(f"imagefolder:{argument}: {test} has a class that train has not, {stray[0]!r}")
    x_train, y_train = _read(base, classes)
    x_test, y_test = (None, None) if pooled or test is None else _read(test, classes)
    mean, std = statistics_of(classes, x_train.shape[1])
    return RawData(x_train, y_train, x_test, y_test, classes, mean, std, confusions=confusions_of(classes))


def _folders(base: Path) -> tuple[str, ...]:
    """The folders in a folder, in order of name; hidden ones are no classes."""
    return tuple(sorted(path.name for path in base.iterdir() if path.is_dir() and not path.name.startswith(".")))


def _read(folder: Path, classes: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    images: list[np.ndarray] = []
    labels: list[int] = []
    first: Path | None = None
    for label, name in enumerate(classes):
        for path in sorted((folder / name).glob("**/*")):
            if path.suffix.lower() not in SUFFIXES:
                continue
            image = decode(path.read_bytes(), path)
            first = first or path
            if images and image.shape != images[0].shape:
                raise DataUnavailableError(
                    f"{path}: {_size(image)}, but {first} is {_size(images[0])}; expected one size"
                )
            images.append(image)
            labels.append(label)
    if not images:
        raise DataUnavailableError(f"{folder}: no image in it ({', '.join(sorted(SUFFIXES))})")
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(), torch.tensor(labels)


def _size(image: np.ndarray) -> str:
    height, width, channels = image.shape
    return f"{width}x{height} with {channels} channel{'s' if channels > 1 else ''}"


REGISTER = {"imagefolder": imagefolder}
