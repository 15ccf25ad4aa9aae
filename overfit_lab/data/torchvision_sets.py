"""Public image sets by way of torchvision. Nothing is fetched unless the user asks for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from overfit_lab.data.base import CIFAR10_MEAN, CIFAR10_STD, RawData, Source, confusions_of
from overfit_lab.errors import DataUnavailableError


@dataclass(frozen=True)
class Entry:
    """One of torchvision's sets: its class, the arguments for its two parts, its channel statistics."""

    cls: str
    train: dict[str, Any]
    test: dict[str, Any]
    mean: tuple[float, ...]
    std: tuple[float, ...]


BY_FLAG: dict[str, dict[str, Any]] = {"train": {"train": True}, "test": {"train": False}}
BY_NAME: dict[str, dict[str, Any]] = {"train": {"split": "train"}, "test": {"split": "test"}}
SETS = {
    "cifar10": Entry("CIFAR10", **BY_FLAG, mean=CIFAR10_MEAN, std=CIFAR10_STD),
    "cifar100": Entry("CIFAR100", **BY_FLAG, mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762)),
    "svhn": Entry("SVHN", **BY_NAME, mean=(0.4377, 0.4438, 0.4728), std=(0.1980, 0.2010, 0.1970)),
    "mnist": Entry("MNIST", **BY_FLAG, mean=(0.1307,), std=(0.3081,)),
    "fashion-mnist": Entry("FashionMNIST", **BY_FLAG, mean=(0.2860,), std=(0.3530,)),
}


def default_root() -> Path:
    """Where downloaded sets are kept: OVERFIT_LAB_DATA, else ~/.cache/overfit-lab/data."""
    return Path(os.environ.get("OVERFIT_LAB_DATA") or Path.home() / ".cache" / "overfit-lab" / "data")


def make_source(name: str) -> Source:
    """The source of one of torchvision's sets."""

    def source(argument: str, *, root: Path | None, download: bool) -> RawData:
        return load(name, root=root, download=download)

    source.__doc__ = f"{SETS[name].cls} by way of torchvision; fetched only when asked for."
    return source


def load(name: str, *, root: Path | None, download: bool) -> RawData:
    """A set of torchvision as uint8 tensors.

    Raises:
        DataUnavailableError: absent (the line says how to get it), or it could not be fetched or read.
    """
    folder = root if root is not None else default_root()
    train, test = (_open(name, folder, part, download) for part in ("train", "test"))
    names = getattr(train, "classes", None) or [str(k) for k in range(10)]
    classes = tuple(str(label) for label in names)
    x_train, y_train = _tensors(train)
    x_test, y_test = _tensors(test)
    entry = SETS[name]
    return RawData(x_train, y_train, x_test, y_test, classes, entry.mean, entry.std, confusions=confusions_of(classes))


def _open(name: str, folder: Path, part: str, download: bool) -> Any:
    from torchvision import datasets

    cls: Callable[..., Any] = getattr(datasets, SETS[name].cls)
    arguments = getattr(SETS[name], part)
    try:
        return cls(str(folder), download=download, **arguments)
    except Exception as error:
        packed = _packed(name, folder)
        if packed and not download:
            raise DataUnavailableError(
                f"{name}: {packed[0]} is packed; it is read unpacked (gunzip), in {folder / SETS[name].cls / 'raw'}"
            ) from error
        if download:
            first = (str(error) or type(error).__name__).splitlines()[0]
            raise DataUnavailableError(f"{name}: could not be fetched to {folder} ({first})") from error
        raise DataUnavailableError(
            f"{name}: not in {folder}; get it by `overfit-lab data fetch {name}` or --set data.download=true, "
            "or point --set data.root at a folder that has it"
        ) from error


def _packed(name: str, folder: Path) -> list[Path]:
    """The set's own files where they were downloaded by hand and not unpacked."""
    from torchvision import datasets

    raw = folder / str(SETS[name].cls) / "raw"
    names = [file for file, _ in getattr(getattr(datasets, SETS[name].cls), "resources", [])]
    return [place / file for place in (raw, folder) for file in names if (place / file).is_file()]


def _tensors(dataset: Any) -> tuple[Tensor, Tensor]:
    """Images (N, C, H, W) uint8 and labels, from the different layouts that torchvision has."""
    images = torch.as_tensor(np.asarray(dataset.data))
    labels = dataset.labels if hasattr(dataset, "labels") else dataset.targets
    if images.dim() == 3:
        images = images.unsqueeze(1)
    elif images.shape[-1] == 3:
        images = images.permute(0, 3, 1, 2)
    return images.to(torch.uint8).contiguous(), torch.as_tensor(np.asarray(labels), dtype=torch.int64)


REGISTER = {name: make_source(name) for name in SETS}
