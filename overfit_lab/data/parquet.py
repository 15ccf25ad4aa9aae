"""Images in Parquet files, in the layout that Hugging Face uses."""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from overfit_lab.data import cache
from overfit_lab.data.base import RawData, confusions_of, statistics_of
from overfit_lab.data.encoded import ByteRanges
from overfit_lab.errors import DataUnavailableError
from overfit_lab.records.files import replacing

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "labels", "fine_label")
CACHED_ROWS = 1024
"""Rows of the groups in memory, two groups at least: enough for what the workers decode at once."""
ROWS_AT_A_TIME = 256


def parquet(argument: str, *, root: Path | None, download: bool) -> RawData:
    """``parquet:DIR``: files train-*.parquet and test-*.parquet with encoded images and integer labels.

    The image column is ``img`` or ``image`` (a struct with ``bytes``), the label column ``label``, ``labels`` or
    ``fine_label``; class names come from the schema where it has them. Without test files the set is one pool.
    """
    folder = Path(argument).expanduser()
    if not argument or not folder.is_dir():
        raise DataUnavailableError(
            f"parquet:{argument}: no such folder; expected parquet:DIR with train-*.parquet in it"
        )
    train, names = _part(folder, ("train",))
    test, _ = _part(folder, ("test", "validation"))
    if train is None:
        raise DataUnavailableError(f"parquet:{argument}: no train-*.parquet in the folder")
    n_classes = int(train[1].max()) + 1
    classes = names or tuple(str(k) for k in range(n_classes))
    mean, std = statistics_of(classes, train[0])
    x_test, y_test = test if test is not None else (None, None)
    return RawData(*train, x_test, y_test, classes, mean, std, confusions=confusions_of(classes))


class ParquetImages:
    """The images of Parquet files. Only full row groups can be read, so random reads are dear.

    Args:
        groups: file, number in the file and number of rows of each row group (g, 3).
    """

    def __init__(self, paths: list[Path], groups: np.ndarray) -> None:
        self.paths = paths
        self.groups = groups
        self.ends = np.cumsum(groups[:, 2])
        self._cache: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def read(self, i: int) -> bytes:
        """The encoded image of row i. Cost: reading its row group, unless that is in memory."""
        group, row = self._place(i)
        with self._lock:
            column = self._cache.get(group)
            if column is None:
                column = self._cache[group] = self._group(group)
            self._cache.move_to_end(group)
            while len(self._cache) > 2 and sum(self.groups[g, 2] for g in self._cache) > CACHED_ROWS:
                self._cache.popitem(last=False)
        return _bytes_of(column[row].as_py())

    def location(self, i: int) -> str:
        """The file of row i, and its number in it."""
        group, row = self._place(i)
        file, number, _ = self.groups[group]
        before = self.groups[(self.groups[:, 0] == file) & (self.groups[:, 1] < number), 2].sum()
        return f"{self.paths[file]}, row {int(before) + row}"

    def in_any_order(self) -> ByteRanges:
        """A flat copy of the encoded images in the cache, written once.

        Raises:
            DataUnavailableError: it cannot be written.

        Cost: the size of the files on disk, and one reading of them the first time.
        """
        path = cache.cache_folder() / f"{cache.key_of('parquet', self.paths)}.bytes"
        index = path.with_suffix(".npz")
        arrays = cache.read_arrays(index)
        if arrays is None or not path.is_file() or path.stat().st_size != int(arrays["sizes"].sum()):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with replacing(path, durable=True, shared=True) as file:
                    sizes = [file.write(content) for content in self._all()]
                arrays = {"sizes": np.array(sizes, dtype=np.int64)}
                cache.write_arrays(index, arrays)
            except OSError as error:
                raise DataUnavailableError(
                    f"{path}: the copy that is read in any order cannot be written ({error.strerror}); "
                    "point OVERFIT_LAB_CACHE at a folder with room for it"
                ) from error
        size = arrays["sizes"]
        return ByteRanges([str(path)], np.zeros(len(size), dtype=np.int32), np.cumsum(size) - size, size)

    def _place(self, i: int) -> tuple[int, int]:
        group = int(np.searchsorted(self.ends, i, side="right"))
        return group, i - int(self.ends[group] - self.groups[group, 2])

    def _group(self, group: int) -> Any:
        file, number, _ = self.groups[group].tolist()
        reader = _opened(self.paths[file])
        return reader.read_row_group(number, columns=[_image_column(reader, self.paths[file])]).column(0)

    def _all(self) -> Iterator[bytes]:
        for path in self.paths:
            reader = _opened(path)
            for batch in reader.iter_batches(ROWS_AT_A_TIME, columns=[_image_column(reader, path)]):
                yield from (_bytes_of(entry.as_py()) for entry in batch.column(0))


def _bytes_of(entry: Any) -> bytes:
    """An entry's bytes; empty where it has none, which no decoder takes for an image."""
    content = entry.get("bytes") if isinstance(entry, dict) else entry
    return content if isinstance(content, bytes) else b""


def _part(folder: Path, parts: Sequence[str]) -> tuple[tuple[ParquetImages, Tensor] | None, tuple[str, ...] | None]:
    """Images, labels and class names of the first part that has files."""
    for part in parts:
        paths = sorted(path for path in folder.rglob("*.parquet") if re.match(rf"{part}(\W|_|\d|$)", path.stem))
        if paths:
            metadata = [_metadata_of(path) for path in paths]
            groups = [
                (file, number, n) for file, (_, sizes, _) in enumerate(metadata) for number, n in enumerate(sizes)
            ]
            images = ParquetImages(paths, np.array(groups, dtype=np.int64).reshape(-1, 3))
            if len(images) == 0:
                raise DataUnavailableError(f"{folder}: the files hold no image")
            return (images, torch.cat([labels for labels, _, _ in metadata])), metadata[0][2]
    return None, None


def _metadata_of(path: Path) -> tuple[Tensor, list[int], tuple[str, ...] | None]:
    """Labels, sizes of the groups of rows, and class names of a file; its images are not read."""
    import pyarrow

    reader = _opened(path)
    _image_column(reader, path)
    schema = reader.schema_arrow
    label = _column(schema.names, LABEL_COLUMNS, path, "label")
    column = reader.read(columns=[label]).column(0)
    kind, n_missing = schema.field(label).type, column.null_count
    if not pyarrow.types.is_integer(kind) or n_missing:
        raise DataUnavailableError(f"{path}: column {label} is {kind} with {n_missing} missing; expected whole numbers")
    labels = torch.from_numpy(np.asarray(column).astype(np.int64))
    sizes = [reader.metadata.row_group(i).num_rows for i in range(reader.num_row_groups)]
    return labels, sizes, _class_names(schema.metadata or {}, label)


def _opened(path: Path) -> Any:
    import pyarrow
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataUnavailableError(f"{path}: cannot be read as Parquet ({str(error).splitlines()[0]})") from error


def _image_column(reader: Any, path: Path) -> str:
    return _column(reader.schema_arrow.names, IMAGE_COLUMNS, path, "image")


def _column(have: Sequence[str], wanted: Sequence[str], path: Path, kind: str) -> str:
    for name in wanted:
        if name in have:
            return name
    raise DataUnavailableError(f"{path}: no {kind} column; expected one of {', '.join(wanted)}, got {', '.join(have)}")


def _class_names(metadata: dict[bytes, bytes], label: str) -> tuple[str, ...] | None:
    try:
        features: dict[str, Any] = json.loads(metadata[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[label]["names"])
    except (KeyError, ValueError, TypeError):
        return None


REGISTER = {"parquet": parquet}
