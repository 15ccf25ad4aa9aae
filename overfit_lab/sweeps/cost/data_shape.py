"""How many images of which shape a run has, without the images where that can be known."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from overfit_lab.config import DataConfig
from overfit_lab.data.dataset import find_source, load_dataset
from overfit_lab.errors import ConfigError, DataUnavailableError


@dataclass(frozen=True)
class DataShape:
    """The splits of a run in numbers.

    Args:
        n_train: training images.
        n_val: validation images.
        n_test: test images.
        shape: of an image (C, H, W).
        n_classes: K.
    """

    n_train: int
    n_val: int
    n_test: int
    shape: tuple[int, int, int]
    n_classes: int

    @property
    def image_bytes(self) -> int:
        """Bytes of one image as uint8."""
        c, h, w = self.shape
        return c * h * w

    @property
    def sizes(self) -> dict[str, int]:
        """Images by split."""
        return {"train": self.n_train, "val": self.n_val, "test": self.n_test}


@dataclass(frozen=True)
class Whole:
    """A data set as published: images of its two parts, or of one pool (``n_test`` taken from it by default)."""

    n_train: int
    n_test: int
    shape: tuple[int, int, int]
    n_classes: int
    is_pool: bool = False


KNOWN: Mapping[str, Whole] = {
    "digits": Whole(1_797, 797, (1, 8, 8), 10, is_pool=True),
    "mnist": Whole(60_000, 10_000, (1, 28, 28), 10),
    "fashion-mnist": Whole(60_000, 10_000, (1, 28, 28), 10),
    "cifar10": Whole(50_000, 10_000, (3, 32, 32), 10),
    "cifar100": Whole(50_000, 10_000, (3, 32, 32), 100),
    "svhn": Whole(73_257, 26_032, (3, 32, 32), 10),
    "tiny-imagenet": Whole(100_000, 10_000, (3, 64, 64), 200),
    "imagenet": Whole(1_281_167, 50_000, (3, 224, 224), 1000),
}
"""Sizes as their authors publish them; a test holds those that are at hand against the data."""


def data_shape(config: DataConfig, seed: int, whole: Whole | None = None) -> DataShape:
    """The splits that a configuration makes.

    Args:
        config: which images, how many.
        seed: the run's seed, where the data has to be loaded.
        whole: the size of the set, where it is not known by name.

    Raises:
        ConfigError: an unknown set, more images asked for than there are, or a set that is neither known nor here;
            one line that says what to give.

    Cost: none for a set whose size is known, else that of loading it.
    """
    find_source(config.name)
    whole = whole if whole is not None else KNOWN.get(config.name.partition(":")[0])
    if whole is None:
        return _loaded(config, seed)
    if config.image_size is not None:
        whole = replace(whole, shape=(whole.shape[0], config.image_size, config.image_size))
    return split_sizes(config, whole)


def split_sizes(config: DataConfig, whole: Whole) -> DataShape:
    """The splits of a set of known size; as :func:`overfit_lab.data.dataset.split_raw` makes them.

    Raises:
        ConfigError: more images asked for than there are.
    """
    n_test = config.n_test if config.n_test is not None else whole.n_test
    most = whole.n_train if whole.is_pool else whole.n_test
    rest = whole.n_train - (n_test if whole.is_pool else 0) - config.n_val
    n_train = config.n_train if config.n_train is not None else rest
    for key, asked, there in (
        ("n_test", n_test, most),
        ("n_val", config.n_val, rest + config.n_val),
        ("n_train", n_train, rest),
    ):
        if asked > there:
            raise ConfigError(f"data.{key} = {asked}: only {max(there, 0)} {config.name} images are there")
    return DataShape(n_train, config.n_val, n_test, whole.shape, whole.n_classes)


def parse_whole(text: str) -> Whole:
    """``N_TRAIN,N_TEST,CxHxW,K``, such as ``1281167,50000,3x224x224,1000``.

    Raises:
        ConfigError: anything else.
    """
    found = re.fullmatch(r"(\d+),(\d+),(\d+)x(\d+)x(\d+),(\d+)", text.replace(" ", "").replace("_", ""))
    numbers = [int(number) for number in found.groups()] if found else []
    if not numbers or min(numbers) < 1:
        raise ConfigError(
            f"--data {text!r}: expected training images, test images, CxHxW and classes, "
            "such as 1281167,50000,3x224x224,1000"
        )
    n_train, n_test, c, h, w, k = numbers
    return Whole(n_train, n_test, (c, h, w), k)


def of_run(info: Mapping[str, Any]) -> DataShape:
    """What run.json says of a run's data."""
    data = info["data"]
    sizes = data["sizes"]
    c, h, w = data["shape"]
    return DataShape(sizes["train"], sizes.get("val", 0), sizes.get("test", 0), (c, h, w), data["n_classes"])


def _loaded(config: DataConfig, seed: int) -> DataShape:
    try:
        data = load_dataset(config.model_copy(update={"download": False}), seed, "cpu")
    except DataUnavailableError as error:
        raise ConfigError(
            f"data.name = {config.name!r}: its size is not known and it is not here; give "
            "--data N_TRAIN,N_TEST,CxHxW,K, such as 1281167,50000,3x224x224,1000"
        ) from error
    sizes = {name: len(split) for name, split in data.splits.items()}
    return DataShape(sizes["train"], sizes.get("val", 0), sizes.get("test", 0), data.shape, data.n_classes)
