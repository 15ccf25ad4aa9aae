"""Where in its source each sample of a split comes from."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset

from overfit_lab.data.encoded import EncodedImages

NameOf = Callable[[int], str]
"""From a row of a source to the file, or the row of a file or array, that it is."""


class SampleSources:
    """The file, or the row of a file or array, of each sample.

    A name is ``FOLDER/CLASS/FILE``, ``FOLDER/SHARD/ENTRY``, ``FOLDER/FILE, row N`` or ``PART[N]`` for arrays.

    Args:
        name_of: the name of each row of the source.
        index: the rows of the split's samples (n,).
    """

    def __init__(self, name_of: NameOf, index: Sequence[int] | Tensor) -> None:
        self.name_of = name_of
        self.index = index.cpu().numpy() if isinstance(index, Tensor) else np.asarray(index)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> str:
        return str(self.name_of(int(self.index[i])))

    def names(self, positions: Tensor | None = None) -> np.ndarray:
        """The names of the samples at positions (n,), or of all, as an array of text."""
        wanted = range(len(self)) if positions is None else positions.tolist()
        return np.array([self[i] for i in wanted], dtype=np.str_)


def names_in(images: Tensor | EncodedImages, part: str) -> NameOf:
    """What names the images of a part of a set."""
    if isinstance(images, Tensor):
        return partial(row_name, part)
    return getattr(images, "source", images.location)


def row_name(part: str, row: int) -> str:
    """The name of a row of an array, or of a data set that gives its samples by number."""
    return f"{part}[{row}]"


class UserSources:
    """Names the samples of the data sets that a user gave for the splits.

    A sample is named after its file where the data set lists its files, as torchvision's ``ImageFolder`` does, and else
    after its row in the data set, through ``Subset`` and ``ConcatDataset``. A data set that several splits are
    taken from has the name of the first of them.
    """

    def __init__(self) -> None:
        self._parts: dict[int, tuple[str, Any]] = {}

    def of(self, split: str, data: Any, chosen: Sequence[int]) -> tuple[SampleSources, str]:
        """The sources of the samples of a split at some positions of its data set, and in words what they are."""
        names: list[str] = []
        kinds: dict[str, None] = {}
        for base in _bases(data):
            self._name(split, base)
        for position in chosen:
            base, row = _base(data, position)
            file, (part, _) = _file(base, row), self._parts[id(base)]
            names.append(file or row_name(part, row))
            kinds[f"files of {_title(base)}" if file else f"rows of the {type(base).__name__} given as {part}"] = None
        return SampleSources(names.__getitem__, range(len(names))), ", ".join(kinds)

    def _name(self, split: str, base: Any) -> None:
        """Name a data set after the split, with a number where that is taken; it is held, so that its id stays its."""
        taken = {part for part, _ in self._parts.values()}
        names = (split if n == 1 else f"{split}-{n}" for n in range(1, len(taken) + 2))
        self._parts.setdefault(id(base), (next(name for name in names if name not in taken), base))


def _bases(data: Any) -> list[Any]:
    """The data sets that one is put together from, in order."""
    if isinstance(data, Subset):
        return _bases(data.dataset)
    return [base for part in data.datasets for base in _bases(part)] if isinstance(data, ConcatDataset) else [data]


def _base(data: Any, row: int) -> tuple[Any, int]:
    """The data set that a sample lies in, and its row there."""
    while True:
        if isinstance(data, Subset):
            data, row = data.dataset, int(data.indices[row])
        elif isinstance(data, ConcatDataset):
            i = bisect_right(data.cumulative_sizes, row)
            data, row = data.datasets[i], row - (data.cumulative_sizes[i - 1] if i else 0)
        else:
            return data, row


def _file(data: Any, row: int) -> str | None:
    """The file of a row, from the folder above the data set's own on; None where the data set lists no files."""
    listed = getattr(data, "samples", None)
    if not isinstance(listed, Sequence) or isinstance(listed, str) or len(listed) != len(data):
        return None
    entry = listed[row][0] if isinstance(listed[row], (tuple, list)) and listed[row] else None
    if not isinstance(entry, (str, os.PathLike)):
        return None
    path = Path(entry).absolute()
    above = Path(getattr(data, "root", None) or path.parent).absolute().parent
    return (path.relative_to(above) if path.is_relative_to(above) else path).as_posix()


def _title(data: Any) -> str:
    root = getattr(data, "root", None)
    return type(data).__name__ + (f" {Path(root).absolute().name}/" if isinstance(root, (str, os.PathLike)) else "")
