"""Encoded images in files, read one by one in any order."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor

from overfit_lab.errors import DataUnavailableError
from overfit_lab.files.reading import cause, open_file


class EncodedImages(Protocol):
    """The files of an image set, of which one image at a time is read. Reading from several threads is allowed."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    def read(self, i: int) -> bytes:
        """The encoded image number i.

        Raises:
            DataUnavailableError: the file has changed or cannot be read.
        """
        ...

    def location(self, i: int) -> str:
        """File of image number i, and position in it, for messages."""
        ...

    def in_any_order(self) -> EncodedImages:
        """The same images, laid out so that random reads cost no more than sequential ones; itself if they do already.

        Raises:
            DataUnavailableError: a copy has to be written, and cannot be.
        """
        ...


class Chosen:
    """A selection of images, in any order.

    Args:
        index: positions of the chosen ones (n,) int64.
    """

    def __init__(self, images: EncodedImages, index: Tensor) -> None:
        self.images = images
        self.index = index.cpu().numpy()

    def __len__(self) -> int:
        return len(self.index)

    def read(self, i: int) -> bytes:
        """The encoded image number i of the chosen ones."""
        return self.images.read(int(self.index[i]))

    def location(self, i: int) -> str:
        """File of image number i of the chosen ones, and position in it."""
        return self.images.location(int(self.index[i]))

    def in_any_order(self) -> Chosen:
        """The same selection, laid out for random reads."""
        copy = Chosen.__new__(Chosen)
        copy.images, copy.index = self.images.in_any_order(), self.index
        return copy


class Texts:
    """Many short texts in two arrays: some 40 bytes a path, where a list of them takes three times that."""

    def __init__(self, texts: Iterable[str]) -> None:
        encoded = [os.fsencode(text) for text in texts]
        self.ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
        self.joined = b"".join(encoded)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, i: int) -> str:
        start = int(self.ends[i - 1]) if i else 0
        return os.fsdecode(self.joined[start : int(self.ends[i])])


class ByteRanges:
    """Encoded images that are parts of larger files: shards, or one flat file.

    Args:
        file: number of each image's file (n,).
        start: position of its first byte in it (n,) int64.
        size: how many bytes it has (n,) int64.
        names: what each is called in messages; None: by its number.
    """

    def __init__(
        self, paths: list[str], file: np.ndarray, start: np.ndarray, size: np.ndarray, names: Texts | None = None
    ) -> None:
        self.paths = paths
        self.file, self.start, self.size = file, start, size
        self.names = names

    def __len__(self) -> int:
        return len(self.start)

    def read(self, i: int) -> bytes:
        """The bytes of image number i. Cost: opening a file and one read."""
        size = int(self.size[i])
        try:
            with open_file(Path(self.paths[int(self.file[i])])) as file:
                file.seek(int(self.start[i]))
                content = file.read(size)
        except OSError as error:
            raise DataUnavailableError(f"{self.location(i)}: cannot be read ({cause(error)})") from error
        if len(content) != size:
            raise DataUnavailableError(f"{self.location(i)}: the file has become shorter than it was")
        return content

    def location(self, i: int) -> str:
        """File and position."""
        name = f"entry {i}" if self.names is None else self.names[i]
        return f"{self.paths[int(self.file[i])]}, {name} (bytes from {int(self.start[i])})"

    def source(self, i: int) -> str:
        """Folder, file and entry."""
        path = Path(self.paths[int(self.file[i])])
        return f"{path.parent.name}/{path.name}/{i if self.names is None else self.names[i]}"

    def in_any_order(self) -> ByteRanges:
        """Itself."""
        return self
