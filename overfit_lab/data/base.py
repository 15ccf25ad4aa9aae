"""The protocol of a data source, and the checks on what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from overfit_lab.data.decoding import form_of
from overfit_lab.data.encoded import EncodedImages
from overfit_lab.errors import DataUnavailableError

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)
CIFAR10_CONFUSIONS = {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}
"""Asymmetric noise on CIFAR-10: truck to automobile, bird to airplane, deer to horse, cat and dog to each other."""


@dataclass(frozen=True)
class RawData:
    """Images and labels as a source has them, on the CPU, before splits, noise and augmentation.

    Args:
        x_train: images (N, C, H, W) uint8, or encoded ones in files, which are decoded or streamed later.
        y_train: labels (N,) int64 in 0..K-1.
        x_test: test images, or None where the source is one pool that has still to be split.
        y_test: labels of the test images.
        mean: mean of each channel in [0, 1] pixels, for normalisation inside the model.
        std: standard deviation of each channel.
        n_test: size of the test split taken from a pool, where none is asked for.
        confusions: class to class, for asymmetric label noise; None means k to k+1.
        x_val: validation images, where the source has a split of them.
        y_val: labels of the validation images.
        read_from: from train, val and test to what of the source they are, in a few words.
        notes: what else a user should know of how the source was read.
    """

    x_train: Tensor | EncodedImages
    y_train: Tensor
    x_test: Tensor | EncodedImages | None
    y_test: Tensor | None
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    n_test: int | None = None
    confusions: dict[int, int] | None = None
    x_val: Tensor | EncodedImages | None = None
    y_val: Tensor | None = None
    read_from: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Source(Protocol):
    """A function that gives a data set."""

    def __call__(self, argument: str, *, root: Path | None, download: bool) -> RawData:
        """The data set.

        Args:
            argument: what follows the colon of ``parquet:DIR``; "" without one.
            root: folder of downloaded sets; None is the default place.
            download: fetch the set if it is absent.

        A source that takes ``config`` as well is given the whole :class:`overfit_lab.config.DataConfig`; only such
        ones can heed ``data.splits`` and ``data.columns``.

        Raises:
            DataUnavailableError: absent or damaged; one line that says how to get it.
        """
        ...


def confusions_of(class_names: tuple[str, ...]) -> dict[int, int] | None:
    """CIFAR-10's confusions where the classes are CIFAR-10's, wherever its images came from."""
    return dict(CIFAR10_CONFUSIONS) if class_names == CIFAR10_CLASSES else None


def statistics_of(class_names: tuple[str, ...], images: EncodedImages) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation to normalise with: CIFAR-10's for CIFAR-10, else 0 and 1, which is no change."""
    n_channels = form_of(images).channels
    if class_names == CIFAR10_CLASSES and n_channels == 3:
        return CIFAR10_MEAN, CIFAR10_STD
    return (0.0,) * n_channels, (1.0,) * n_channels


def from_parts(
    parts: Mapping[str, tuple[Tensor | EncodedImages, Tensor]],
    class_names: tuple[str, ...] | None,
    *,
    read_from: Mapping[str, str],
    notes: tuple[str, ...] = (),
) -> RawData:
    """The data of encoded images and labels by split.

    Without ``class_names`` a class is a label that training samples have. If these are not 0 to K-1, they are numbered
    in their order and keep their values as names.

    Raises:
        DataUnavailableError: a label of another split that no training sample has.
    """
    (x_train, y_train), mapped = parts["train"], dict(parts)
    values = y_train.unique()
    if class_names is None:
        class_names = tuple(str(value) for value in values.tolist())
        if len(values) and values[0] >= 0 and not torch.equal(values, torch.arange(len(values))):
            mapped = {part: (x, _numbered(y, values, part)) for part, (x, y) in parts.items()}
            notes = (*notes, f"labels {_listed(class_names)} are classes 0 to {len(values) - 1}")
    assert not isinstance(x_train, Tensor)
    mean, std = statistics_of(class_names, x_train)
    x_test, y_test = mapped.get("test", (None, None))
    x_val, y_val = mapped.get("val", (None, None))
    return RawData(
        *mapped["train"],
        x_test,
        y_test,
        class_names,
        mean,
        std,
        confusions=confusions_of(class_names),
        x_val=x_val,
        y_val=y_val,
        read_from=read_from,
        notes=notes,
    )


def _numbered(y: Tensor, values: Tensor, part: str) -> Tensor:
    places = torch.searchsorted(values, y).clamp_(max=len(values) - 1)
    strays = y[values[places] != y]
    if len(strays):
        raise DataUnavailableError(f"{part} label {int(strays[0])}: no training sample has it")
    return places


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:3])}, ... {names[-1]}"


def check_raw(raw: RawData, name: str) -> None:
    """Refuse images and labels that no run could use, whoever wrote their source.

    Raises:
        DataUnavailableError: one line that names what is wrong and what would be right.
    """
    problem = _problem_of(raw)
    if problem:
        raise DataUnavailableError(f"{name}: {problem}")


def _problem_of(raw: RawData) -> str | None:
    parts = {"train": (raw.x_train, raw.y_train), "val": (raw.x_val, raw.y_val), "test": (raw.x_test, raw.y_test)}
    problem = None
    for part, (x, y) in parts.items():
        if problem is None and (x is None) != (y is None):
            problem = f"{part} images without labels or labels without images; expected both or neither"
        if problem is None and x is not None and y is not None:
            problem = _problem_of_part(part, x, y, len(raw.class_names))
            problem = problem or _problem_of_shapes(part, raw.x_train, x)
    if problem is None and len(raw.class_names) < 2:
        problem = f"{len(raw.class_names)} class; expected at least 2"
    if problem is None and isinstance(raw.x_train, Tensor):
        n_channels = raw.x_train.shape[1]
        if not len(raw.mean) == len(raw.std) == n_channels:
            counts = f"{len(raw.mean)} means and {len(raw.std)} standard deviations"
            problem = f"{counts}; expected {n_channels}, one a channel"
    return problem


def _problem_of_shapes(part: str, train: Tensor | EncodedImages, other: Tensor | EncodedImages) -> str | None:
    """Shapes of encoded images are compared later, when their decoded size is known."""
    if isinstance(train, Tensor) and isinstance(other, Tensor):
        if other.shape[1:] != train.shape[1:]:
            shapes = f"{tuple(train.shape[1:])} and {tuple(other.shape[1:])}"
            return f"train and {part} images differ in shape, {shapes}; expected one size"
    elif isinstance(train, Tensor) or isinstance(other, Tensor):
        return "images of one part are decoded and those of the other encoded; expected both alike"
    return None


def _problem_of_part(part: str, x: Tensor | EncodedImages, y: Tensor, n_classes: int) -> str | None:
    n = len(x)
    if isinstance(x, Tensor) and (x.dim() != 4 or x.dtype != torch.uint8):
        return f"{part} images are {x.dtype} of shape {tuple(x.shape)}; expected torch.uint8 of shape (N, C, H, W)"
    if n == 0:
        return f"there are no {part} images"
    if y.dtype != torch.int64 or y.shape != (n,):
        return f"{part} labels are {y.dtype} of shape {tuple(y.shape)}; expected torch.int64 of shape ({n},)"
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= n_classes:
        return f"{part} labels go from {low} to {high}; expected 0 to {n_classes - 1}, as there are {n_classes} classes"
    return None
