"""Images in WebDataset shards: plain tar files in which KEY.jpg and KEY.cls lie side by side.

Nothing is unpacked: what is read of a shard is a range of its bytes. Entries of other kinds are passed over, pickles
(``.pyd``, ``.pth``) among them.
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from overfit_lab.config import ColumnsConfig, DataConfig
from overfit_lab.data import cache
from overfit_lab.data.base import RawData, from_parts
from overfit_lab.data.encoded import ByteRanges, Texts
from overfit_lab.data.roles import Files, files_by_split
from overfit_lab.errors import DataUnavailableError, RunFolderError
from overfit_lab.files.json_text import parse_json
from overfit_lab.files.limits import CLASSES_BYTES, ENTRY_NAME, IMAGE_BYTES, LABEL, LABEL_BYTES, in_bytes
from overfit_lab.files.reading import cause, open_file, read_text

IMAGES = {"jpg", "jpeg", "png", "ppm", "webp", "bmp", "img"}
LABELS = ("cls", "json")
KEYS_OF_LABELS = ("label", "cls", "class", "class_id")
MOST_SHARDS = 100_000
BLOCK = 512

Part = tuple[ByteRanges, Tensor]


def webdataset(argument: str, *, root: Path | None, download: bool, config: DataConfig | None = None) -> RawData:
    """``webdataset:DIR``, or ``webdataset:PATTERN`` such as DIR/train-{000000..000146}.tar, as one pool.

    In a folder the shards are train-*.tar, and test-*.tar and val-*.tar, also as train/*.tar; a pattern for
    test shards may follow that of train after a semicolon. The label is a whole number in KEY.cls, or in KEY.json
    under ``label``, ``cls``, ``class`` or ``class_id``; names of classes are the lines of DIR/classes.txt if it is
    there. ``data.splits`` and ``data.columns`` name other shards and endings.
    """
    config = config if config is not None else DataConfig()
    files, folder = _shards(argument, config)
    return read_shards(files, folder, config)


def read_shards(files: Files, folder: Path, config: DataConfig) -> RawData:
    """The images of the shards of each split; no test shards: one pool. ``folder`` may hold classes.txt."""
    parts = {part: images_of(paths, config.columns) for part, paths in files.paths.items()}
    notes = (f"not used: {', '.join(files.unused)}",) if files.unused else ()
    return from_parts(parts, _class_names(folder), read_from=files.names, notes=notes)


def _shards(argument: str, config: DataConfig) -> tuple[Files, Path]:
    name = f"webdataset:{argument}"
    if "{" in argument or argument.endswith(".tar"):
        train, _, test = argument.partition(";")
        patterns = {part: pattern for part, pattern in (("train", train), ("test", test)) if pattern}
        paths = {part: [Path(path).expanduser() for path in braces(pattern)] for part, pattern in patterns.items()}
        absent = [path for part in paths.values() for path in part if not path.is_file()]
        if absent:
            raise DataUnavailableError(f"{name}: no such shard, {absent[0]} ({len(absent)} absent)")
        names = {part: Path(pattern).name for part, pattern in patterns.items()}
        return Files(paths, names, ()), paths["train"][0].parent
    folder = Path(argument).expanduser()
    if not argument or not folder.is_dir():
        raise DataUnavailableError(f"{name}: no such folder; expected webdataset:DIR with train-*.tar in it")
    files = files_by_split(folder, ".tar", config.splits, name)
    if "train" not in files.paths:
        there = f"; there are {', '.join(files.unused)}" if files.unused else ""
        raise DataUnavailableError(f"{name}: no train-*.tar in the folder{there}; data.splits.train= names it")
    return files, folder


def braces(pattern: str) -> list[str]:
    """Expands the braces of a pattern: ``{000..146}`` counts, with as many digits, and ``{a,b}`` lists.

    Raises:
        DataUnavailableError: braces that are not closed, or more than 100,000 texts.

    Example:
        >>> braces("train-{08..10}.tar")
        ['train-08.tar', 'train-09.tar', 'train-10.tar']
    """
    head, opened, rest = pattern.partition("{")
    if not opened:
        return [pattern]
    inside, closed, tail = rest.partition("}")
    if not closed or "{" in inside:
        raise DataUnavailableError(f"webdataset:{pattern}: braces that are not closed")
    span = re.fullmatch(r"(\d+)\.\.(\d+)", inside)
    if span is None:
        middles = inside.split(",")
    else:
        low, high = int(span[1]), int(span[2])
        if high - low >= MOST_SHARDS:
            raise DataUnavailableError(f"webdataset:{pattern}: {high - low + 1} shards; expected {MOST_SHARDS} at most")
        middles = [f"{number:0{len(span[1])}d}" for number in range(low, high + 1)]
    ends = braces(tail)
    if len(middles) * len(ends) > MOST_SHARDS:
        raise DataUnavailableError(f"webdataset:{pattern}: more than {MOST_SHARDS} shards")
    return [f"{head}{middle}{end}" for middle in middles for end in ends]


def images_of(paths: list[Path], columns: ColumnsConfig) -> Part:
    """The images of shards, in their order, and their labels.

    Raises:
        DataUnavailableError: a shard is damaged or compressed, or an image has no label.

    Cost: one pass over the headers of each shard the first time; then its index is read from the cache.
    """
    kind = "webdataset-whole"  # an index under another kind may be of a shard that ends early
    if columns != ColumnsConfig():
        kind += f"-{hashlib.sha256(repr(columns).encode()).hexdigest()[:8]}"
    index = cache.cached_arrays(cache.key_of(kind, paths), lambda: _index_of_all(paths, columns))
    if len(index["start"]) == 0:
        raise DataUnavailableError(f"{paths[0].parent}: the shards hold no image ({', '.join(sorted(IMAGES))})")
    names = Texts(str(name) for name in index["name"])
    images = ByteRanges([str(path) for path in paths], index["shard"], index["start"], index["size"], names)
    return images, torch.from_numpy(index["label"])


def _index_of_all(paths: list[Path], columns: ColumnsConfig) -> cache.Arrays:
    parts = [_index(path, columns) for path in paths]
    sizes = [len(part["start"]) for part in parts]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {**joined, "shard": np.repeat(np.arange(len(paths), dtype=np.int32), sizes)}


def _index(path: Path, columns: ColumnsConfig) -> cache.Arrays:
    """First bytes, sizes, labels and names of a shard's images."""
    try:
        with open_file(path) as file, tarfile.open(fileobj=file, mode="r:") as shard:
            length = os.fstat(file.fileno()).st_size
            rows = [_row(path, file, key, entries, length, columns) for key, entries in _samples(path, shard)]
            _refuse_early_end(path, file, shard.offset)  # type: ignore[attr-defined]
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
        raise DataUnavailableError(f"{path}: cannot be read as a plain tar file ({cause(error)})") from error
    images = [row for row in rows if row is not None]
    starts, sizes, labels, names = zip(*images, strict=True) if images else ((), (), (), ())
    return {
        "start": np.array(starts, dtype=np.int64),
        "size": np.array(sizes, dtype=np.int64),
        "label": np.array(labels, dtype=np.int64),
        "name": np.array(names, dtype=np.str_),
    }


def _refuse_early_end(path: Path, file: BinaryIO, end: int) -> None:
    """Refuse a shard without the block of zeros that ends one, or with something after it.

    tarfile takes what is cut between two entries, or is damaged there, for complete.
    """
    file.seek(end)
    n_zeros = 0
    while chunk := file.read(2**20):
        if any(chunk):
            break
        n_zeros += len(chunk)
    else:
        if n_zeros >= BLOCK:
            return
    raise DataUnavailableError(
        f"{path}: ends early or is damaged at byte {end}, as no block of zeros ends it; copy or make it again"
    )


def _samples(path: Path, shard: tarfile.TarFile) -> Iterator[tuple[str, dict[str, tarfile.TarInfo]]]:
    """Samples of a shard: neighbouring entries of one key (the name up to its first dot), by their suffixes."""
    key: str | None = None
    entries: dict[str, tarfile.TarInfo] = {}
    while (member := shard.next()) is not None:
        # tarfile keeps every header that it has read; a shard of many images would fill the memory.
        shard.members = []  # type: ignore[attr-defined]
        folder, _, name = member.name.rpartition("/")
        stem, point, ending = name.partition(".")
        if not member.isreg() or not point or not stem:
            continue
        sample_key = f"{folder}/{stem}"
        if sample_key != key:
            if key is not None:
                yield key, entries
            key, entries = sample_key, {}
        if ending.lower() in entries:
            raise DataUnavailableError(f"{path}: {member.name!r} is there twice")
        entries[ending.lower()] = member
    if key is not None:
        yield key, entries


def _row(
    path: Path,
    file: BinaryIO,
    key: str,
    entries: dict[str, tarfile.TarInfo],
    length: int,
    columns: ColumnsConfig,
) -> tuple[int, int, int, str] | None:
    """First byte, size, label and name of a sample's image; None where it has no image."""
    wanted = IMAGES if columns.image is None else {columns.image.lower()}
    images = {ending: entry for ending, entry in entries.items() if ending in wanted}
    if not images:
        return None
    if len(images) > 1:
        endings = " and ".join(sorted(images))
        raise DataUnavailableError(f"{path}: {key!r} has the images {endings}; name one by data.columns.image=")
    (image,) = images.values()
    labels = LABELS if columns.label is None else (columns.label.lower(),)
    label = next((entries[ending] for ending in labels if ending in entries), None)
    if label is None:
        expected = " or ".join(f".{ending}" for ending in labels)
        raise DataUnavailableError(
            f"{path}: {image.name!r} has no label; expected an entry {expected} beside it (data.columns.label= names "
            "another ending)"
        )
    for entry in (image, label):
        if entry.issparse() or entry.size < 0 or entry.offset_data + entry.size > length:
            raise DataUnavailableError(f"{path}: {entry.name!r} reaches beyond the end of the file, or is sparse")
    if len(image.name) > ENTRY_NAME:
        raise DataUnavailableError(f"{path}: {image.name[:60]!r}... is a name of {len(image.name)} characters")
    if image.size > IMAGE_BYTES:
        raise DataUnavailableError(f"{path}: {image.name!r} has {in_bytes(image.size)}; expected an image")
    if label.size > LABEL_BYTES:
        raise DataUnavailableError(f"{path}: {label.name!r} has {label.size} bytes; expected a label")
    place = file.tell()  # tarfile reads its headers from the same file, and must go on from here
    file.seek(label.offset_data)
    content = file.read(label.size)
    file.seek(place)
    return image.offset_data, image.size, _label(path, label.name, content), image.name


def _label(path: Path, name: str, content: bytes) -> int:
    try:
        value = parse_json(content.decode(), name)
    except (ValueError, RunFolderError):
        value = None
    if isinstance(value, dict):
        value = next((value[key] for key in KEYS_OF_LABELS if key in value), None)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LABEL:
        raise DataUnavailableError(f"{path}: {name!r} holds no whole number of 0 or more as label")
    return value


def _class_names(folder: Path) -> tuple[str, ...] | None:
    try:
        lines = read_text(folder / "classes.txt", CLASSES_BYTES).splitlines()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataUnavailableError(f"{folder / 'classes.txt'}: cannot be read ({cause(error)})") from error
    return tuple(line.strip() for line in lines if line.strip()) or None


REGISTER = {"webdataset": webdataset}
