"""Images in Parquet files, in the layout that Hugging Face uses."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from overfit_lab.config import ColumnsConfig, DataConfig
from overfit_lab.data import cache
from overfit_lab.data.base import RawData, from_parts
from overfit_lab.data.encoded import ByteRanges
from overfit_lab.data.roles import files_by_split
from overfit_lab.errors import DataUnavailableError, RunFolderError
from overfit_lab.files.json_text import parse_json
from overfit_lab.files.limits import PARQUET_FLOOR, PARQUET_FOOTER, PARQUET_RATIO, PARQUET_ROW_BYTES, in_bytes
from overfit_lab.files.reading import cause, open_file
from overfit_lab.files.writing import make_folder, replacing

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "labels", "fine_label")
CACHED_ROWS = 1024
"""Rows of the groups in memory, two groups at least: enough for what the workers decode at once."""
ROWS_AT_A_TIME = 8
"""Rows that are unfolded before their size is looked at."""


def parquet(argument: str, *, root: Path | None, download: bool, config: DataConfig | None = None) -> RawData:
    """``parquet:DIR``: files train-*.parquet, and test-* and validation-*, or train/*.parquet and so on.

    The image column is ``img`` or ``image`` (a struct with ``bytes``), the label column ``label``, ``labels`` or
    ``fine_label``; ``data.columns`` names others. Class names come from the schema where it has them. Without files of
    test or validation the set is one pool.
    """
    folder = Path(argument).expanduser()
    config = config if config is not None else DataConfig()
    if not argument or not folder.is_dir():
        raise DataUnavailableError(
            f"parquet:{argument}: no such folder; expected parquet:DIR with train-*.parquet in it"
        )
    files = files_by_split(folder, ".parquet", config.splits, f"parquet:{argument}")
    if "train" not in files.paths:
        there = f"; there are {', '.join(files.unused)}" if files.unused else ""
        raise DataUnavailableError(
            f"parquet:{argument}: no train-*.parquet in the folder{there}; data.splits.train= names it"
        )
    read = {part: _part(paths, config.columns) for part, paths in files.paths.items()}
    names = read["train"][2]
    for part, (_, _, others) in read.items():
        if others != names:
            raise DataUnavailableError(f"parquet:{argument}: {part} has other names of classes than train")
    first = files.paths["train"][0]
    image, label = _columns(_opened(first).schema_arrow.names, config.columns, first)
    unused = [f"not used: {', '.join(files.unused)}"] if files.unused else []
    notes = (f"image column {image!r}, label column {label!r}", *unused)
    parts = {part: (images, labels) for part, (images, labels, _) in read.items()}
    return from_parts(parts, names, read_from=files.names, notes=notes)


class ParquetImages:
    """The images of Parquet files. Only full row groups can be read, so random reads are dear.

    Args:
        groups: file, number in the file and number of rows of each row group (g, 3).
        columns: which columns to read, where their names do not say it.
    """

    def __init__(self, paths: list[Path], groups: np.ndarray, columns: ColumnsConfig | None = None) -> None:
        self.paths = paths
        self.columns = columns if columns is not None else ColumnsConfig()
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
        path, row = self._row(i)
        return f"{path}, row {row}"

    def source(self, i: int) -> str:
        """The same with the file below its folder."""
        path, row = self._row(i)
        return f"{path.parent.name}/{path.name}, row {row}"

    def _row(self, i: int) -> tuple[Path, int]:
        group, row = self._place(i)
        file, number, _ = self.groups[group]
        before = self.groups[(self.groups[:, 0] == file) & (self.groups[:, 1] < number), 2].sum()
        return self.paths[file], int(before) + row

    def in_any_order(self) -> ByteRanges:
        """A flat copy of the encoded images in the cache, written once.

        Raises:
            DataUnavailableError: it cannot be written.

        Cost: the size of the files on disk, and one reading of them the first time.
        """
        kind = (
            "parquet"
            if self.columns.image is None
            else f"parquet-{hashlib.sha256(self.columns.image.encode()).hexdigest()[:8]}"
        )
        path = cache.cache_folder() / f"{cache.key_of(kind, self.paths)}.bytes"
        index = path.with_suffix(".npz")
        arrays = cache.read_arrays(index)
        if arrays is None or not path.is_file() or path.stat().st_size != int(arrays["sizes"].sum()):
            try:
                make_folder(path.parent)
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
        import pyarrow

        path = self.paths[file]
        reader = _opened(path)
        parts = list(_parts_of_column(reader, path, self._image_column(reader, path), [number]))
        return pyarrow.chunked_array(parts) if parts else []

    def _image_column(self, reader: Any, path: Path) -> str:
        return _columns(reader.schema_arrow.names, self.columns, path)[0]

    def _all(self) -> Iterator[bytes]:
        for path in self.paths:
            reader = _opened(path)
            name = self._image_column(reader, path)
            for part in _parts_of_column(reader, path, name, range(reader.num_row_groups)):
                yield from (_bytes_of(entry.as_py()) for entry in part)


def _bytes_of(entry: Any) -> bytes:
    """An entry's bytes; empty where it has none, which no decoder takes for an image."""
    content = entry.get("bytes") if isinstance(entry, dict) else entry
    return content if isinstance(content, bytes) else b""


def _part(paths: list[Path], columns: ColumnsConfig) -> tuple[ParquetImages, Tensor, tuple[str, ...] | None]:
    """Images, labels and class names of a split's files."""
    metadata = [_metadata_of(path, columns) for path in paths]
    groups = [(file, number, n) for file, (_, sizes, _) in enumerate(metadata) for number, n in enumerate(sizes)]
    images = ParquetImages(paths, np.array(groups, dtype=np.int64).reshape(-1, 3), columns)
    if len(images) == 0:
        raise DataUnavailableError(f"{paths[0].parent}: the files hold no image")
    return images, torch.cat([labels for labels, _, _ in metadata]), metadata[0][2]


def _metadata_of(path: Path, columns: ColumnsConfig) -> tuple[Tensor, list[int], tuple[str, ...] | None]:
    """Labels, sizes of the groups of rows, and class names of a file; its images are not read."""
    import pyarrow

    reader = _opened(path)
    schema = reader.schema_arrow
    _, label = _columns(schema.names, columns, path)
    with _reading(path):
        column = reader.read(columns=[label]).column(0)
    kind, n_missing = schema.field(label).type, column.null_count
    if not pyarrow.types.is_integer(kind) or n_missing:
        raise DataUnavailableError(f"{path}: column {label} is {kind} with {n_missing} missing; expected whole numbers")
    labels = torch.from_numpy(np.asarray(column).astype(np.int64))
    sizes = [reader.metadata.row_group(i).num_rows for i in range(reader.num_row_groups)]
    return labels, sizes, _class_names(schema.metadata or {}, label)


def _opened(path: Path) -> Any:
    """A Parquet file whose description is read, and says no more than its size allows.

    Raises:
        DataUnavailableError: it cannot be read, or says more.
    """
    import pyarrow.parquet as pq

    with _reading(path):
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - 8))
            footer = int.from_bytes(file.read(4), "little")
        if footer > min(size, PARQUET_FOOTER):
            raise ValueError(f"its description has {in_bytes(footer)}")
        reader = pq.ParquetFile(path)
        if (n := reader.metadata.num_rows) * PARQUET_ROW_BYTES > size:
            raise ValueError(f"{n} rows in {in_bytes(size)}")
        return reader


def _parts_of_column(reader: Any, path: Path, name: str, groups: Sequence[int]) -> Iterator[Any]:
    """A column of some groups of rows in parts of a few rows: an entry of a few bytes may stand for a large image.

    Raises:
        DataUnavailableError: what a group unfolds to is out of proportion to the file.
    """
    most = max(PARQUET_RATIO * path.stat().st_size, PARQUET_FLOOR)
    for group in groups:
        total = 0
        with _reading(path):
            for batch in reader.iter_batches(ROWS_AT_A_TIME, row_groups=[group], columns=[name]):
                total += batch.nbytes
                if total > most:
                    raise ValueError(f"column {name} unfolds to more than {in_bytes(most)}")
                yield batch.column(0)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What goes wrong inside is said in one line: the libraries below raise all kinds, and memory errors on sizes.

    Raises:
        DataUnavailableError: something does.
    """
    import pyarrow

    try:
        yield
    except (OSError, pyarrow.ArrowException, ValueError, TypeError, KeyError, MemoryError, OverflowError) as error:
        raise DataUnavailableError(f"{path}: cannot be read as Parquet ({cause(error)})") from error


def _columns(have: Sequence[str], columns: ColumnsConfig, path: Path) -> tuple[str, str]:
    """The columns of images and of labels."""
    return (
        _column(have, columns.image, IMAGE_COLUMNS, path, "image"),
        _column(have, columns.label, LABEL_COLUMNS, path, "label"),
    )


def _column(have: Sequence[str], named: str | None, wanted: Sequence[str], path: Path, kind: str) -> str:
    there = [name for name in ([named] if named is not None else wanted) if name in have]
    if not there:
        expected = named if named is not None else f"one of {', '.join(wanted)}"
        raise DataUnavailableError(
            f"{path}: no {kind} column; expected {expected}, got {', '.join(have)}; data.columns.{kind}= names it"
        )
    if len(there) > 1:
        raise DataUnavailableError(f"{path}: {kind} columns {' and '.join(there)}; name one by data.columns.{kind}=")
    return there[0]


def _class_names(metadata: dict[bytes, bytes], label: str) -> tuple[str, ...] | None:
    try:
        content = parse_json(metadata[b"huggingface"].decode(), "features")
        return tuple(str(name) for name in content["info"]["features"][label]["names"])
    except (RunFolderError, KeyError, ValueError, TypeError):
        return None


REGISTER = {"parquet": parquet}
