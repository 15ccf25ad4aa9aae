"""Images in Parquet files, in the layout that Hugging Face uses."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from overfit_lab.data.base import RawData, confusions_of, statistics_of
from overfit_lab.errors import DataUnavailableError

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "labels", "fine_label")


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
    train, names = _read(folder, ("train",))
    test, _ = _read(folder, ("test", "validation"))
    if train is None:
        raise DataUnavailableError(f"parquet:{argument}: no train-*.parquet in the folder")
    n_classes = int(train[1].max()) + 1
    classes = names or tuple(str(k) for k in range(n_classes))
    mean, std = statistics_of(classes, train[0].shape[1])
    x_test, y_test = test if test is not None else (None, None)
    return RawData(*train, x_test, y_test, classes, mean, std, confusions=confusions_of(classes))


def _read(folder: Path, parts: Sequence[str]) -> tuple[tuple[Tensor, Tensor] | None, tuple[str, ...] | None]:
    """Images, labels and class names of the first part that has files."""
    for part in parts:
        files = sorted(path for path in folder.rglob("*.parquet") if re.match(rf"{part}(\W|_|\d|$)", path.stem))
        if files:
            tables = [_read_file(path) for path in files]
            images = _stack([image for content, _, _ in tables for image in content], folder)
            labels = torch.tensor(np.concatenate([labels for _, labels, _ in tables]), dtype=torch.int64)
            return (images, labels), tables[0][2]
    return None, None


def _read_file(path: Path) -> tuple[list[np.ndarray], np.ndarray, tuple[str, ...] | None]:
    import pyarrow
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataUnavailableError(f"{path}: cannot be read as Parquet ({str(error).splitlines()[0]})") from error
    image = _column(table.column_names, IMAGE_COLUMNS, path, "image")
    label = _column(table.column_names, LABEL_COLUMNS, path, "label")
    kind, n_missing = table.schema.field(label).type, table.column(label).null_count
    if not pyarrow.types.is_integer(kind) or n_missing:
        raise DataUnavailableError(f"{path}: column {label} is {kind} with {n_missing} missing; expected whole numbers")
    encoded = table.column(image).to_pylist()
    images = [decode(item.get("bytes") if isinstance(item, dict) else item, path) for item in encoded]
    return images, np.asarray(table.column(label)), _class_names(table.schema.metadata or {}, label)


def _column(have: Sequence[str], wanted: Sequence[str], path: Path, what: str) -> str:
    for name in wanted:
        if name in have:
            return name
    raise DataUnavailableError(f"{path}: no {what} column; expected one of {', '.join(wanted)}, got {', '.join(have)}")


def decode(encoded: bytes | None, path: Path) -> np.ndarray:
    """An encoded image as (H, W, C) uint8, C being 1 or 3.

    Raises:
        DataUnavailableError: not an image.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(encoded or b"")) as image:
            plain = image if image.mode in ("L", "RGB") else image.convert("RGB")
            array = np.asarray(plain)
    except (UnidentifiedImageError, OSError, TypeError) as error:
        raise DataUnavailableError(f"{path}: holds an entry that is no image") from error
    return array if array.ndim == 3 else array[:, :, None]


def _stack(images: list[np.ndarray], where: Path) -> Tensor:
    if not images:
        raise DataUnavailableError(f"{where}: the files hold no image")
    shapes = sorted({image.shape for image in images})
    if len(shapes) != 1:
        raise DataUnavailableError(
            f"{where}: images of different sizes ({shapes[0]} and {shapes[1]}); expected one size"
        )
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


def _class_names(metadata: dict[bytes, bytes], label: str) -> tuple[str, ...] | None:
    try:
        features: dict[str, Any] = json.loads(metadata[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[label]["names"])
    except (KeyError, ValueError, TypeError):
        return None


REGISTER = {"parquet": parquet}
