"""Tiny ImageNet (Stanford CS231n 2015) in the folder as it is unpacked: 200 classes, 64x64."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from overfit_lab.data.base import RawData
from overfit_lab.data.imagefolder import FolderImages, images_in, subfolders
from overfit_lab.data.torchvision_sets import default_root
from overfit_lab.errors import DataUnavailableError
from overfit_lab.files.limits import CLASSES_BYTES
from overfit_lab.files.reading import cause, read_bytes

FOLDER = "tiny-imagenet-200"
MEAN, STD = (0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821)
"""Of the 100,000 training images."""
ANNOTATIONS = "val_annotations.txt"


def tiny_imagenet(argument: str, *, root: Path | None, download: bool) -> RawData:
    """``tiny-imagenet:DIR``: train/WNID/images/*.JPEG, val/images/*.JPEG and val/val_annotations.txt.

    Without DIR it is tiny-imagenet-200 in ``data.root``. The validation images are the test split, since the labels of
    the official test images were never given out.
    """
    folder = Path(argument).expanduser() if argument else (root if root is not None else default_root()) / FOLDER
    if not (folder / "train").is_dir() or not (folder / "val" / ANNOTATIONS).is_file():
        raise DataUnavailableError(
            f"tiny-imagenet: {folder} has no train/ and val/{ANNOTATIONS}; unpack tiny-imagenet-200.zip and give "
            "tiny-imagenet:DIR, or data.root where tiny-imagenet-200/ lies"
        )
    classes = subfolders(folder / "train")
    if not classes:
        raise DataUnavailableError(f"tiny-imagenet: {folder / 'train'} has no folder of a class")
    train = images_in(folder / "train", classes)
    return RawData(*train, *_validation(folder / "val", classes), classes, MEAN, STD)


def _validation(folder: Path, classes: tuple[str, ...]) -> tuple[FolderImages, Tensor]:
    """The images of the annotations' lines (file, class, box; between tabs), in their order."""
    path = folder / ANNOTATIONS
    numbers = {name: k for k, name in enumerate(classes)}
    names, labels = [], []
    try:
        text = read_bytes(path, CLASSES_BYTES).decode(errors="replace")
    except OSError as error:
        raise DataUnavailableError(f"{path}: cannot be read ({cause(error)})") from error
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, _, rest = line.partition("\t")
        wnid = rest.partition("\t")[0].strip()
        if wnid not in numbers or name != Path(name).name:
            raise DataUnavailableError(f"{path}, line {number}: {line[:60]!r}; expected FILE, tab, a class of train")
        names.append(f"images/{name}")
        labels.append(numbers[wnid])
    if not names:
        raise DataUnavailableError(f"{path}: names no image")
    return FolderImages(folder, names), torch.tensor(labels)


REGISTER = {"tiny-imagenet": tiny_imagenet}
