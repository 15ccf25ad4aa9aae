"""Splits from a user's data: arrays, torch data sets, data loaders, or a mapping of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    WeightedRandomSampler,
)
from torch.utils.data.distributed import DistributedSampler

from overfit_lab.data.arrays import class_labels, images_and_labels, to_tensor
from overfit_lab.data.samples import SampleSources, UserSources, row_name
from overfit_lab.data.split import probe_order
from overfit_lab.errors import ConfigError
from overfit_lab.seeds import derive_seed, private_streams
from overfit_lab.types import Dataset, Provenance, Split

KINDS = "a pair of images and labels, a torch data set or data loader"
OTHER_NAMES = {"validation": "val", "valid": "val"}
IMAGE_KEYS = ("pixel_values", "image", "img", "images")
SPACES = {"P": "RGB", "PA": "RGBA", "1": "L", "CMYK": "RGB", "YCbCr": "RGB", "HSV": "RGB", "LAB": "RGB"}
"""Pillow's modes whose numbers are no grey levels or colours, and what they are converted to."""
MOST_ROUNDS = 4
"""Times the size of its data set that a sampler is asked for at most."""
LABEL_KEYS = ("labels", "label", "y")


def by_split(data: Any, test: Any = None, val: Any = None) -> dict[str, Any]:
    """The source of each split, in the order train, val, test.

    Args:
        data: the training split, or a mapping of ``train``, ``val`` (also ``validation``) and ``test``, or a
            :class:`~overfit_lab.types.Dataset`.

    Raises:
        ConfigError: no training split, an unknown name of a split, or a split that is given twice.
    """
    sources = {"test": test, "val": val}
    data = data.splits if isinstance(data, Dataset) else data
    if isinstance(data, Mapping):
        for key, part in data.items():
            name = OTHER_NAMES.get(key, key)
            if name not in ("train", "val", "test"):
                raise ConfigError(f"data: unknown split {key!r}; expected train, val or test")
            if sources.get(name) is not None:
                raise ConfigError(f"data: split {name!r} is given twice")
            sources[name] = part
    else:
        sources["train"] = data
    if sources.get("train") is None:
        raise ConfigError(f"data: there is no training split; expected {KINDS}, or a mapping with the key 'train'")
    return {name: sources[name] for name in ("train", "val", "test") if sources[name] is not None}


def dataset_from_sources(
    sources: Mapping[str, Any], *, keep: int, seed: int = 0, device: torch.device | str, y_true: Any = None
) -> Dataset:
    """Splits for a training loop outside this package.

    Arrays are copied in full. Of a data set, or of what a data loader's sampler gives of its data set, the first
    ``keep`` samples of the split's probe order are read, in that order: the samples that probes would take from the
    full split. Images are stored as bytes; floats in [0, 1] that are no multiples of 1/255 as float32, which loses
    nothing.

    Args:
        sources: of each split, see :func:`by_split`.
        keep: samples of a data set to keep.
        seed: of the probe order, and of the random transforms of a data set while it is read.
        y_true: the training samples' labels before any noise, in the order of the split; None: those of a third part of
            its arrays, else the labels themselves.

    Raises:
        ConfigError: shapes, kinds or values that do not fit; one line.

    Cost: one reading of ``keep`` samples a split; memory is C*H*W bytes a sample, four times that for float32.
    """
    splits, read_from, known = {}, {}, UserSources()
    for name, part in sources.items():
        splits[name], read_from[name] = _split(
            name, part, keep, seed, device, known, y_true if name == "train" else None
        )
    shapes = {tuple(split.x.shape[1:]) for split in splits.values()}
    if len(shapes) > 1:
        raise ConfigError(f"images of the splits differ in shape: {' and '.join(map(str, sorted(shapes)))}")
    names = tuple(str(k) for k in range(_top(splits) + 1))
    channels = splits["train"].x.shape[1]
    return Dataset("arrays", splits, names, (0.0,) * channels, (1.0,) * channels, Provenance(read_from))


def with_classes(data: Dataset, n_classes: int) -> Dataset:
    """The same data with as many classes as a model gives logits; of a part of the data some may have no sample.

    Raises:
        ConfigError: a label for which there is no logit.
    """
    top = _top(data.splits)
    if top >= n_classes:
        raise ConfigError(f"label {top}: the model gives {n_classes} logits, so labels go from 0 to {n_classes - 1}")
    return replace(data, class_names=tuple(str(k) for k in range(n_classes)))


def describe_splits(data: Dataset) -> dict[str, str]:
    """One line a split with its samples in memory and their size, such as ``1000 of 50000 samples, 3.1 MB``."""
    return {
        name: f"{len(split)} of {split.size} samples, {prod(split.x.shape) * split.x.dtype.itemsize / 1e6:.1f} MB"
        for name, split in data.splits.items()
    }


def _top(splits: Mapping[str, Split]) -> int:
    return max(int(labels.max()) for split in splits.values() for labels in (split.y, split.y_true))


def _split(
    name: str,
    source: Any,
    keep: int,
    seed: int,
    device: torch.device | str,
    known: UserSources,
    y_true: Any = None,
) -> tuple[Split, str]:
    """A split, and in words what its samples are named after."""
    source = _unwrapped(name, source)
    if has_true_labels(source):
        if y_true is not None:
            raise ConfigError(f"{name}: true labels are given twice, as y_true and with the split")
        if isinstance(source, Split):
            moved = {key: getattr(source, key).to(device) for key in ("y", "y_true", "corrupted", "order")}
            images = source.x.to(device) if isinstance(source.x, Tensor) else source.x
            return replace(source, name=name, x=images, **moved), f"the split {source.name} of a set loaded here"
        source, y_true = source[:2], source[2]
    chosen = None
    if isinstance(source, (tuple, list)) and len(source) == 2 and not _is_item(source[0]):
        x, y = images_and_labels(name, source, keep_floats=True)
        size = len(y)
        order = probe_order(size, seed=seed, split=name)
        named, words = SampleSources(partial(row_name, name), range(size)), "rows of the arrays given"
    else:
        size = _length(name, source)
        chosen = probe_order(size, seed=seed, split=name)[:keep].tolist()
        with private_streams(derive_seed(seed, "given", name)):
            items = [_item(name, source[i]) for i in chosen]
        x, y = images_and_labels(name, _stacked(name, items), keep_floats=True)
        order = torch.arange(len(y))
        named, words = known.of(name, source, chosen)
    true = y if y_true is None else _true_labels(name, y_true, size, chosen)
    tensors = (tensor.to(device) for tensor in (x.contiguous(), y, true, y != true, order))
    return Split(name, *tensors, n_total=size, sources=named), words


def has_true_labels(source: Any) -> bool:
    """Whether a split is three arrays: images, labels, and labels before any noise; or one of this package's sets."""
    if isinstance(source, Split):
        return True
    return isinstance(source, (tuple, list)) and len(source) == 3 and not _is_item(source[0])


def _true_labels(name: str, labels: Any, size: int, chosen: list[int] | None) -> Tensor:
    """Labels before any noise of the samples that are kept.

    Raises:
        ConfigError: not one label a sample of the split.
    """
    tensor = to_tensor(f"{name} y_true", labels)
    if tensor.shape != (size,):
        raise ConfigError(f"{name} y_true has shape {tuple(tensor.shape)}; expected ({size},), a label a sample")
    tensor = class_labels(f"{name} y_true", tensor)
    return tensor if chosen is None else tensor[chosen]


def _unwrapped(name: str, source: Any) -> Any:
    """What a data loader draws from: its data set, or the samples of it that its sampler gives; else as it is."""
    if isinstance(source, DataLoader):
        chosen = None if isinstance(source.dataset, IterableDataset) else _sampled(name, source)
        source = source.dataset if chosen is None else Subset(source.dataset, chosen)
    if isinstance(source, IterableDataset):
        raise ConfigError(f"{name}: an iterable data set has no samples by number; give one with len and indices")
    return source


def _sampled(name: str, loader: DataLoader[Any]) -> list[int] | None:
    """Positions of the samples that a loader's sampler gives, in order; None where these are all of them.

    The user's sampler and its random stream stay as they are: of one that is not torch's, a copy is run through once.
    """
    batches = loader.batch_sampler
    plain = type(batches) is BatchSampler
    sampler: Any = batches.sampler if plain and isinstance(batches, BatchSampler) else batches
    if sampler is None:
        sampler = loader.sampler
    size = len(loader.dataset)  # type: ignore[arg-type]
    if type(sampler) in (SequentialSampler, RandomSampler, DistributedSampler):
        return None
    if isinstance(sampler, WeightedRandomSampler):
        chosen = sampler.weights.nonzero().flatten().tolist()
    elif hasattr(sampler, "indices"):
        chosen = [int(i) for i in sampler.indices]
    else:
        try:
            with private_streams(0):
                drawn = list(islice(iter(copy.deepcopy(sampler)), MOST_ROUNDS * size))
            chosen = [int(i) for item in drawn for i in (item if isinstance(item, (list, tuple)) else [item])]
        except Exception as error:
            raise ConfigError(
                f"{name}: which samples {type(sampler).__name__} gives cannot be seen ({_first_line(error)}); "
                "give torch.utils.data.Subset(data, indices)"
            ) from error
    unique = sorted(set(chosen))
    return None if unique == list(range(size)) else unique


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _length(name: str, source: Any) -> int:
    if isinstance(source, (np.ndarray, Tensor, str, bytes)) or not hasattr(source, "__getitem__"):
        raise ConfigError(f"{name}: expected {KINDS}, got {type(source).__name__}")
    try:
        size = len(source)
    except (TypeError, NotImplementedError) as error:
        raise ConfigError(f"{name}: {type(source).__name__} has no length; expected {KINDS}") from error
    if size == 0:
        raise ConfigError(f"{name}: the data set is empty")
    return size


def _is_item(value: Any) -> bool:
    """Whether this is one sample, so that a list of two of them is no pair of arrays."""
    return isinstance(value, (tuple, dict))


def _item(name: str, item: Any) -> tuple[Tensor, int]:
    """Image (C, H, W) and label of a sample: a pair, or a mapping with the usual keys."""
    if isinstance(item, Mapping):
        image = next((item[key] for key in IMAGE_KEYS if key in item), None)
        label = next((item[key] for key in LABEL_KEYS if key in item), None)
    elif isinstance(item, (tuple, list)) and len(item) >= 2:
        image, label = item[0], item[1]
    else:
        image, label = None, None
    if image is None or label is None:
        actual = f"keys {', '.join(map(str, item))}" if isinstance(item, Mapping) else type(item).__name__
        raise ConfigError(
            f"{name}: a sample is {actual}; expected an image and a label, or keys such as pixel_values and labels"
        )
    try:
        number = int(label)
        if number != label:
            raise ValueError(f"label {float(label):g}")
        return _image(image), number
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name}: a sample is no image and whole number ({str(error).splitlines()[0]})") from error


def _image(image: Any) -> Tensor:
    """Channels first; of a PIL image the bytes as they are, of one with a palette or in another space its colours."""
    if isinstance(image, Tensor):
        tensor = image.detach().cpu()
    elif hasattr(image, "getbands"):
        if image.mode in SPACES:
            image = image.convert(SPACES[image.mode])
        values = torch.from_numpy(np.array(image))
        tensor = values.permute(2, 0, 1) if values.dim() == 3 else values
    else:
        tensor = torch.from_numpy(np.array(image))
    return tensor.unsqueeze(0) if tensor.dim() == 2 else tensor


def _stacked(name: str, items: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    shapes = {tuple(image.shape) for image, _ in items}
    if len(shapes) > 1:
        some = " and ".join(map(str, sorted(shapes)[:2]))
        raise ConfigError(f"{name}: images differ in shape, such as {some}; resize them in the data set's transform")
    return torch.stack([image for image, _ in items]), torch.tensor([label for _, label in items])
