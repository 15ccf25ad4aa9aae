"""Images a second of an epoch that is decoded from files, beside torchvision's ImageFolder with a DataLoader."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from harness import Bar, Result, Row, seconds_of
from PIL import Image
from setting import Setting
from torch.utils.data import DataLoader, Dataset

from overfit_lab.config import DataConfig
from overfit_lab.data.augment import Augmenter
from overfit_lab.data.dataset import load_dataset
from overfit_lab.data.decoding import decode
from overfit_lab.data.stream_loader import StreamLoader
from overfit_lab.processes.pool import usable_cores

BATCH = 64
ROUNDS = 3


def picture(side: tuple[int, int], seed: int) -> bytes:
    """A JPEG as large as a photograph of that size (some 2 bits a pixel): a smooth field with a little noise."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(side, Image.Resampling.BICUBIC)
    noisy = np.asarray(coarse).astype(np.int16) + rng.normal(0, 9, (side[1], side[0], 1)).astype(np.int16)
    file = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, format="JPEG", quality=88)
    return file.getvalue()


def write_sets(folder: Path, contents: list[bytes]) -> dict[str, str]:
    """The same images as every kind of set: kind to name."""
    for i, content in enumerate(contents):
        path = folder / "folder" / "train" / f"{i % 4}" / f"{i:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "parquet").mkdir()
    rows = {"image": [{"bytes": c, "path": None} for c in contents], "label": [i % 4 for i in range(len(contents))]}
    pq.write_table(pa.table(rows), folder / "parquet" / "train-0.parquet", row_group_size=100)
    (folder / "shards").mkdir()
    with tarfile.open(folder / "shards" / "train-0.tar", "w") as shard:
        for i, content in enumerate(contents):
            for ending, data in (("jpg", content), ("cls", str(i % 4).encode())):
                entry = tarfile.TarInfo(f"{i:05d}.{ending}")
                entry.size = len(data)
                shard.addfile(entry, io.BytesIO(data))
    return {
        "imagefolder": f"imagefolder:{folder / 'folder'}",
        "parquet": f"parquet:{folder / 'parquet'}",
        "webdataset": f"webdataset:{folder / 'shards'}",
    }


def ours(name: str, options: dict[str, Any], workers: int) -> tuple[StreamLoader, int]:
    """The loader of a streamed set, and how many images an epoch of it has."""
    data = load_dataset(DataConfig(name=name, stream=True, workers=workers, n_test=4, **options), 0, "cpu")
    split = data.splits["train"]
    augmenter = Augmenter(options["augment"], n_samples=len(split), shape=data.shape, seed=0)
    return StreamLoader(split, batch_size=BATCH, seed=0, augmenter=augmenter), len(split)


class InProcesses(Dataset[Any]):
    """Our decoder as a DataLoader's data set, to compare threads with processes."""

    def __init__(self, loader: StreamLoader) -> None:
        self.images, self.zoom = loader.images, loader.augmenter.resized_crop if loader.augmenter else None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> torch.Tensor:
        crop = None if self.zoom is None else self.zoom.crop(0, i)
        images = self.images.images
        array = decode(images.read(i), images.location(i), self.images.form, crop)
        return torch.from_numpy(np.array(array)).permute(2, 0, 1)


def theirs(folder: Path, resized: bool, workers: int) -> tuple[Any, int]:
    """torchvision's usual pipeline, to float images in [0, 1]."""
    from torchvision import datasets, transforms

    steps: list[Any] = [transforms.RandomResizedCrop(224)] if resized else [transforms.RandomCrop(64, padding=4)]
    pipeline = transforms.Compose([*steps, transforms.RandomHorizontalFlip(), transforms.ToTensor()])
    found = datasets.ImageFolder(str(folder / "folder" / "train"), pipeline)
    return DataLoader(found, batch_size=BATCH, shuffle=True, num_workers=workers), len(found)


def passed(begin: Callable[[], Iterable[Any]]) -> int:
    """Batches of an epoch, which are all made."""
    return sum(1 for _ in begin())


def measure(setting: Setting) -> Result:
    """Images a second of whole epochs, medians of three, files in the page cache."""
    workers = usable_cores()
    rows, bars = [], []
    with tempfile.TemporaryDirectory() as place:
        os.environ["OVERFIT_LAB_CACHE"] = f"{place}/cache"
        figures: dict[str, dict[str, float]] = {}
        for what, size, n, resized in (
            ("64x64, crop", (64, 64), setting.size(4000, 100), False),
            ("500x375, resized crop to 224", (500, 375), setting.size(500, 20), True),
        ):
            folder = Path(place) / what.split(",")[0]
            names = write_sets(folder, [picture(size, seed) for seed in range(n)])
            options: dict[str, Any] = {"augment": ("crop", "flip")}
            if resized:
                options = {"augment": ("resized-crop", "flip"), "image_size": 224}
            contenders = {
                f"ours, {kind}, {workers} threads": ours(name, options, workers) for kind, name in names.items()
            }
            contenders["ours, webdataset, in the training thread"] = ours(names["webdataset"], options, 0)
            turns: dict[str, tuple[Callable[[], Any], int]] = {
                name: (partial(passed, partial(loader.epoch, 1)), count) for name, (loader, count) in contenders.items()
            }
            one = contenders[f"ours, webdataset, {workers} threads"][0]
            forked = DataLoader(InProcesses(one), batch_size=BATCH, shuffle=True, num_workers=workers)
            turns[f"our decoder in {workers} processes of a DataLoader"] = (
                partial(passed, forked.__iter__),
                len(one.split),
            )
            loader, count = theirs(folder, resized, workers)
            turns[f"torchvision ImageFolder, DataLoader, {workers} processes"] = partial(passed, loader.__iter__), count
            for name, rate in _rates(turns).items():
                figures.setdefault(name, {})[f"images/s, {what}"] = rate
        rows = [Row(name, found) for name, found in figures.items()]
        best = f"ours, webdataset, {workers} threads"
        peer = f"torchvision ImageFolder, DataLoader, {workers} processes"
        bars = [
            Bar(f"{column}: ours over torchvision", figures[best][column] / figures[peer][column], 1.0)
            for column in figures[best]
        ]
    return Result(f"An epoch decoded from files, batch {BATCH}, {workers} cores", rows, bars)


def _rates(turns: dict[str, tuple[Callable[[], Any], int]]) -> dict[str, float]:
    """Images a second of each, in turns."""
    times: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(ROUNDS):
        for name, (run, _) in turns.items():
            times[name].append(seconds_of(run))
    return {name: turns[name][1] / sorted(found)[ROUNDS // 2] for name, found in times.items()}
