"""How many images of which shape a run has, without the images where that can be known."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from overfit_lab.config import DataConfig
from overfit_lab.data.dataset import find_source, load_dataset
from overfit_lab.errors import ConfigError, DataUnavailableError


@dataclass(frozen=True)
class DataShape:
    """Images by split, the shape of one (C, H, W), and the number of classes."""

    n_train: int
    n_val: int
    n_test: int
    shape: tuple[int, int, int]
    n_classes: int

    @property
    def image_bytes(self) -> int:
        """Bytes of one image as uint8."""
        return math.prod(self.shape)

    @property
    def sizes(self) -> dict[str, int]:
        """Images by split."""
        return {"train": self.n_train, "val": self.n_val, "test": self.n_test}


POOLS = ("digits",)
"""Sets of one part, ``n_train``, of which the test images are taken."""
KNOWN: Mapping[str, DataShape] = {
    "digits": DataShape(1_797, 0, 797, (1, 8, 8), 10),
    "mnist": DataShape(60_000, 0, 10_000, (1, 28, 28), 10),
    "fashion-mnist": DataShape(60_000, 0, 10_000, (1, 28, 28), 10),
    "cifar10": DataShape(50_000, 0, 10_000, (3, 32, 32), 10),
    "cifar100": DataShape(50_000, 0, 10_000, (3, 32, 32), 100),
    "svhn": DataShape(73_257, 0, 26_032, (3, 32, 32), 10),
    "tiny-imagenet": DataShape(100_000, 0, 10_000, (3, 64, 64), 200),
    "imagenet": DataShape(1_281_167, 0, 50_000, (3, 224, 224), 1000),
}
"""Sets as their authors publish them; a test holds those that are at hand against the data."""


def data_shape(config: DataConfig, seed: int, published: DataShape | None = None) -> DataShape:
    """The splits that a configuration makes, as :func:`overfit_lab.data.dataset.split_raw` makes them.

    A set of unknown size is loaded, with the run's ``seed``, unless its size is given as ``published``.

    Raises:
        ConfigError: an unknown set, more images asked for than there are, or a set that is neither known nor here.

    Cost: none for a set whose size is known, else that of loading it.
    """
    find_source(config.name)
    size = published or KNOWN.get(config.name.partition(":")[0])
    if size is None:
        return _loaded(config, seed)
    is_pool = published is None and config.name in POOLS
    n_test = config.n_test if config.n_test is not None else size.n_test
    rest = size.n_train - (n_test if is_pool else 0) - config.n_val
    n_train = config.n_train if config.n_train is not None else rest
    for key, n, most in (
        ("n_test", n_test, size.n_train if is_pool else size.n_test),
        ("n_val", config.n_val, rest + config.n_val),
        ("n_train", n_train, rest),
    ):
        if n > most:
            raise ConfigError(f"data.{key} = {n}: only {max(most, 0)} {config.name} images are there")
    side = config.image_size
    shape = size.shape if side is None else (size.shape[0], side, side)
    return DataShape(n_train, config.n_val, n_test, shape, size.n_classes)


def parse_size(text: str) -> DataShape:
    """``N_TRAIN,N_TEST,CxHxW,K``, such as ``1281167,50000,3x224x224,1000``.

    Raises:
        ConfigError: anything else.
    """
    match = re.fullmatch(r"(\d+),(\d+),(\d+)x(\d+)x(\d+),(\d+)", text.replace(" ", "").replace("_", ""))
    numbers = [int(number) for number in match.groups()] if match else []
    if not numbers or min(numbers) < 1:
        raise ConfigError(
            f"--data {text!r}: expected training images, test images, CxHxW and classes, "
            "such as 1281167,50000,3x224x224,1000"
        )
    n_train, n_test, c, h, w, k = numbers
    return DataShape(n_train, 0, n_test, (c, h, w), k)


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
