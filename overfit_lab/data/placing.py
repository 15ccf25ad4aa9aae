"""Decides whether a run's images are decoded into memory or streamed from their files."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from overfit_lab.config import DataConfig, parse_size
from overfit_lab.data.base import RawData
from overfit_lab.data.decoding import Form, form_of, refit
from overfit_lab.data.encoded import Chosen, EncodedImages
from overfit_lab.data.streamed import StreamedImages, decoded
from overfit_lab.errors import ConfigError, DataUnavailableError
from overfit_lab.processes.pool import usable_cores
from overfit_lab.types import Images

logger = logging.getLogger(__name__)
SHARE = 0.5
"""Of the free memory that decoded images may take unless a limit is given."""
MOST_WORKERS = 16


class Placing:
    """Gives the images of each split; one decision holds for all splits.

    Args:
        config: how images are brought to one size, and whether they are streamed.
        chosen: for each split the part of the set that it is taken from, and the positions in it.

    Raises:
        ConfigError: streaming is asked for and impossible, or needed and forbidden.
        DataUnavailableError: images of different sizes, or damaged ones.
    """

    def __init__(
        self, raw: RawData, config: DataConfig, chosen: Mapping[str, tuple[str, Tensor]], device: torch.device | str
    ) -> None:
        self.config = config
        self.device = torch.device(device)
        self.parts: dict[str, Tensor | EncodedImages] = {"train": raw.x_train}
        self.parts |= {part: x for part, x in (("val", raw.x_val), ("test", raw.x_test)) if x is not None}
        self.workers = config.workers if config.workers is not None else min(usable_cores(), MOST_WORKERS)
        self.forms = {
            part: form_of(images, image_size=config.image_size, shorter_side=config.shorter_side)
            for part, images in self.parts.items()
            if not isinstance(images, Tensor)
        }
        self._check_forms(raw)
        self.streamed = self._streamed(chosen)

    def images(self, split: str, part: str, index: Tensor) -> Images:
        """The images of a split: those at positions (n,) of a part of the set."""
        images = self.parts[part]
        if isinstance(images, Tensor):
            return self._resized(images[index]).contiguous().to(self.device)
        if split in self.streamed:
            laid_out = Chosen(images.in_any_order(), index)
            return StreamedImages(laid_out, self.forms[part], self.device, self.workers)
        source = StreamedImages(images, self.forms[part], torch.device("cpu"), self.workers)
        return decoded(source, index).to(self.device)

    def _check_forms(self, raw: RawData) -> None:
        shapes = {form.shape for form in self.forms.values()}
        if len({shape[1:] for shape in shapes}) > 1:
            listed = " and ".join(str(form.shape) for form in self.forms.values())
            raise DataUnavailableError(
                f"{self.config.name}: {' and '.join(self.forms)} images differ in shape, {listed}; expected one size, "
                "or data.image_size"
            )
        if len(shapes) > 1:
            self.forms = {part: replace(form, channels=3) for part, form in self.forms.items()}
        n_channels = next((form.channels for form in self.forms.values()), len(raw.mean))
        if not len(raw.mean) == len(raw.std) == n_channels:
            raise DataUnavailableError(
                f"{self.config.name}: {len(raw.mean)} means and {len(raw.std)} standard deviations; expected "
                f"{n_channels}, one a channel"
            )

    def _streamed(self, chosen: Mapping[str, tuple[str, Tensor]]) -> set[str]:
        """The splits that are streamed."""
        config = self.config
        resized = "resized-crop" in config.augment and config.image_size is not None
        if not self.forms:
            if config.stream is True:
                raise ConfigError(
                    f"data.stream = true: {config.name} gives its images decoded; expected imagefolder, parquet, "
                    "webdataset, tiny-imagenet or imagenet"
                )
            if resized:
                raise ConfigError(
                    f"data.augment: resized-crop takes parts of the images as they are in their files, and with "
                    f"data.image_size those of {config.name} are resized before"
                )
            return set()
        if config.stream is False:
            if resized:
                raise ConfigError(
                    "data.stream = false: resized-crop takes parts of the images as they are in their files, which "
                    "with data.image_size are not kept; use auto or true"
                )
            return set()
        total = sum(len(index) * prod(self.forms[part].shape) for part, index in chosen.values())
        limit = parse_size(config.memory_limit) if config.memory_limit is not None else int(SHARE * free(self.device))
        if config.stream is True or total > limit:
            logger.info("overfit-lab: %s is streamed: %d bytes decoded, limit %d", config.name, total, limit)
            return set(chosen)
        return {"train"} if resized else set()

    def _resized(self, images: Tensor) -> Tensor:
        size = self.config.image_size
        if size is None:
            return images
        shorter = self.config.shorter_side
        return refit(images, Form(images.shape[1], size, size, shorter if shorter is not None else size))


def free(device: torch.device) -> int:
    """Bytes that are free on the host, or on the device where that has fewer."""
    host = free_on_host()
    if device.type != "cuda":
        return host
    return min(host, int(torch.cuda.mem_get_info(device)[0]))


def free_on_host() -> int:
    """Bytes that programs can still take, within this process's control group where that has a limit."""
    available = _available()
    try:
        most = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        taken = int(Path("/sys/fs/cgroup/memory.current").read_text())
        available = available if most == "max" else min(available, max(0, int(most) - taken))
    except (OSError, ValueError):
        pass
    return available


def _available() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
