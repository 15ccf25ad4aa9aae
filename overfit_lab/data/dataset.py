"""The splits of a run, from a configuration or from arrays."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from overfit_lab.config import ColumnsConfig, DataConfig, SplitsConfig
from overfit_lab.config.catalog import DATASETS
from overfit_lab.data.arrays import channel_statistics, class_labels, images_and_labels, to_tensor
from overfit_lab.data.base import RawData, Source, check_raw
from overfit_lab.data.noise import corrupt
from overfit_lab.data.placing import Placing
from overfit_lab.data.samples import SampleSources, names_in
from overfit_lab.data.split import probe_order, stratified_order, take
from overfit_lab.errors import ConfigError
from overfit_lab.types import Dataset, Images, Provenance, Split


def find_source(name: str) -> tuple[Source, str]:
    """The source of a data set's name, and what follows the colon.

    ``parquet:DIR`` and ``imagefolder:DIR`` name a source and its folder; any other name with a colon is
    ``package.module:function``, a function of the protocol :class:`overfit_lab.data.base.Source`.

    Raises:
        ConfigError: no such source.
    """
    prefix, colon, argument = name.partition(":")
    if colon and prefix in DATASETS:
        return DATASETS[prefix], argument
    return DATASETS[name], ""


def load_dataset(config: DataConfig, seed: int, device: torch.device | str) -> Dataset:
    """The splits of a configuration, on the device, with label noise on the training split alone.

    Args:
        config: which images, how many, which noise; ``config.seed`` goes before ``seed``.

    Raises:
        ConfigError: an unknown name, or more samples asked for than there are.
        DataUnavailableError: the set is absent, or its images and labels break the protocol of a source.
    """
    source, argument = find_source(config.name)
    root = Path(config.root).expanduser() if config.root is not None else None
    options: dict[str, Any] = {"config": config} if _takes_config(source) else {}
    if not options and (config.splits != SplitsConfig() or config.columns != ColumnsConfig()):
        raise ConfigError(f"data.splits and data.columns: {config.name} has no names of splits or columns to choose")
    try:
        raw = source(argument, root=root, download=config.download, **options)
    except TypeError as error:
        raise ConfigError(f"data.name = {config.name!r}: cannot be called as a source of data ({error})") from error
    if not isinstance(raw, RawData):
        raise ConfigError(f"data.name = {config.name!r}: gives {type(raw).__name__}, expected a RawData")
    check_raw(raw, config.name)
    return split_raw(raw, config, seed if config.seed is None else config.seed, device)


def _takes_config(source: Source) -> bool:
    try:
        return "config" in inspect.signature(source).parameters
    except (TypeError, ValueError):
        return False


def may_have_validation(config: DataConfig) -> bool:
    """Whether there may be a validation split: one that is cut out, or the set's own.

    A registered source whose splits have no names brings none. Which others do is known when they are read.
    """
    prefix = config.name.partition(":")[0]
    return config.n_val > 0 or prefix not in DATASETS or _takes_config(DATASETS[prefix])


def split_raw(raw: RawData, config: DataConfig, seed: int, device: torch.device | str) -> Dataset:
    """Stratified, seeded splits of raw data. Validation is taken from the training part, before training."""
    order = stratified_order(raw.y_train, seed=seed, name="train")
    if raw.x_test is None or raw.y_test is None:
        n_test = config.n_test if config.n_test is not None else raw.n_test
        n_test = n_test if n_test is not None else len(order) // 5
        test_index, order = take(order, n_test, key="data.n_test", pool=config.name)
        test_part, y_test = "train", raw.y_train[test_index]
    else:
        test_order = stratified_order(raw.y_test, seed=seed, name="test")
        n_test = config.n_test if config.n_test is not None else len(test_order)
        test_index, _ = take(test_order, n_test, key="data.n_test", pool=f"{config.name} test")
        test_part, y_test = "test", raw.y_test[test_index]
    if raw.x_val is None or raw.y_val is None:
        n_val, val_part, y_val = config.n_val, "train", raw.y_train
        val_index, order = take(order, n_val, key="data.n_val", pool=f"{config.name} training")
    else:
        n_val, val_part, y_val = config.n_val or len(raw.y_val), "val", raw.y_val
        val_order = stratified_order(y_val, seed=seed, name="val")
        val_index, _ = take(val_order, n_val, key="data.n_val", pool=f"{config.name} validation")
    n_train = config.n_train if config.n_train is not None else len(order)
    train_index, _ = take(order, n_train, key="data.n_train", pool=f"{config.name} training")
    if n_train < 2:
        raise ConfigError(f"data.n_train = {n_train}: training needs at least 2 samples")
    y_true = raw.y_train[train_index]
    n_classes = len(raw.class_names)
    y, corrupted = corrupt(y_true, config.noise, n_classes=n_classes, seed=seed, confusions=raw.confusions)
    chosen = {"train": ("train", train_index), "test": (test_part, test_index)}
    if n_val:
        chosen["val"] = (val_part, val_index)
    placing = Placing(raw, config, chosen, device)
    x = {split: placing.images(split, *positions) for split, positions in chosen.items()}
    splits = {"train": make_split("train", x["train"], y, y_true, corrupted, seed=seed, device=device)}
    if n_val:
        splits["val"] = make_split("val", x["val"], y_val[val_index], seed=seed, device=device)
    splits["test"] = make_split("test", x["test"], y_test, seed=seed, device=device)
    parts = {"train": raw.x_train, "val": raw.x_val, "test": raw.x_test}
    for split, (part, index) in chosen.items():
        images = parts[part]
        assert images is not None
        splits[split] = replace(splits[split], sources=SampleSources(names_in(images, part), index))
    provenance = Provenance({split: _origin(raw, split, part) for split, (part, _) in chosen.items()}, raw.notes)
    return Dataset(config.name, splits, raw.class_names, raw.mean, raw.std, provenance)


def _origin(raw: RawData, split: str, part: str) -> str:
    """What of the source a split is: its own part of it, or some samples of the training part."""
    origin = raw.read_from.get(part, f"its {part} part" if raw.x_test is not None else "its one pool")
    return f"{origin}, cut out at random" if split != part else origin


def make_split(
    name: str,
    x: Images,
    y: Tensor,
    y_true: Tensor | None = None,
    corrupted: Tensor | None = None,
    *,
    seed: int,
    device: torch.device | str,
) -> Split:
    """A split on the device; without ``y_true`` its labels are the true ones."""
    true = y if y_true is None else y_true
    mask = torch.zeros(len(y), dtype=torch.bool) if corrupted is None else corrupted
    order = probe_order(len(y), seed=seed, split=name)
    images = x.contiguous().to(device) if isinstance(x, Tensor) else x
    return Split(name, images, *(tensor.to(device) for tensor in (y, true, mask, order)))


def fetch(name: str, root: Path | None = None) -> Path:
    """Download a public set.

    Args:
        root: folder to put it in; None is the default place.

    Returns:
        The folder.

    Raises:
        UnknownNameError: no such set.
        ConfigError: a set that is not downloaded, such as digits.
        DataUnavailableError: it could not be fetched.
    """
    from overfit_lab.data.torchvision_sets import SETS, default_root, load

    if name not in SETS:
        DATASETS[name]
        raise ConfigError(f"{name}: needs no download; sets that can be fetched: {', '.join(SETS)}")
    folder = root if root is not None else default_root()
    load(name, root=folder, download=True)
    return folder


def dataset_from_arrays(
    train: tuple[Any, Any],
    test: tuple[Any, Any] | None = None,
    val: tuple[Any, Any] | None = None,
    *,
    y_true: Any | None = None,
    corrupted: Any | None = None,
    class_names: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    name: str = "arrays",
) -> Dataset:
    """A data set from images and labels in memory.

    Args:
        train: images (N, C, H, W), uint8 or floats k/255 in [0, 1], and integer labels (N,); numpy or torch, copied.
        y_true: true labels (N,) of the training images, where the given ones are noisy.
        corrupted: True where noise was applied (N,) bool; default where ``y_true`` differs.
        class_names: one a class; default 0, 1, ... up to the largest label.
        mean: mean of each channel, for models of ours; default 0.
        std: standard deviation of each channel; default 1.

    Raises:
        ConfigError: shapes, kinds or labels that do not fit; one line.
    """
    sources = {"train": train, "val": val, "test": test}
    pairs = {split: images_and_labels(split, pair) for split, pair in sources.items() if pair is not None}
    shapes = {tuple(x.shape[1:]) for x, _ in pairs.values()}
    if len(shapes) > 1:
        raise ConfigError(f"images of the splits differ in shape: {' and '.join(map(str, sorted(shapes)))}")
    truth, mask = _label_noise(pairs["train"][1], y_true, corrupted)
    top = max(int(y.max()) for y in [y for _, y in pairs.values()] + ([] if truth is None else [truth]))
    lowest = min(int(y.min()) for y in [y for _, y in pairs.values()] + ([] if truth is None else [truth]))
    if class_names is None and lowest > 0:
        raise ConfigError(
            f"train labels go from {lowest} to {top}, and none is 0; expected 0 to {top - lowest}, or class_names"
        )
    names = tuple(class_names) if class_names is not None else tuple(str(k) for k in range(top + 1))
    if top >= len(names):
        raise ConfigError(f"label {top}: there are {len(names)} class names, so labels go from 0 to {len(names) - 1}")
    splits = {}
    for split, (x, y) in pairs.items():
        extras = (truth, mask) if split == "train" else (None, None)
        splits[split] = make_split(split, x, y, *extras, seed=seed, device=device)
    return Dataset(name, splits, names, *channel_statistics(mean, std, pairs["train"][0].shape[1]))


def _label_noise(y: Tensor, y_true: Any | None, corrupted: Any | None) -> tuple[Tensor | None, Tensor | None]:
    """True labels and the mask of noise as tensors; the mask is where the labels differ, unless one is given."""
    truth = None if y_true is None else to_tensor("y_true", y_true)
    mask = None if corrupted is None else to_tensor("corrupted", corrupted)
    for name, extra in (("y_true", truth), ("corrupted", mask)):
        if extra is not None and extra.shape != y.shape:
            raise ConfigError(f"{name}: shape {tuple(extra.shape)}, expected {tuple(y.shape)}")
    if mask is not None:
        if not bool(((mask == 0) | (mask == 1)).all()):
            raise ConfigError("corrupted: expected True and False, or 1 and 0")
        mask = mask.to(torch.bool)
    if truth is not None:
        truth = class_labels("y_true", truth)
    if mask is None and truth is not None:
        mask = truth != y
    return truth, mask
