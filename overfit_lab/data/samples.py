"""Where in its source each sample of a split comes from."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from overfit_lab.data.encoded import EncodedImages


class SampleSources:
    """The file, or the row of a file or array, of each sample.

    A name is ``FOLDER/CLASS/FILE``, ``FOLDER/SHARD/ENTRY``, ``FOLDER/FILE, row N`` or ``PART[N]`` for arrays.

    Args:
        images: those of the part of the set that the split is taken from.
        part: what that part is called.
        index: positions in it of the split's samples (n,).
    """

    def __init__(self, images: Tensor | EncodedImages, part: str, index: Tensor) -> None:
        self.images, self.part = images, part
        self.index = index.cpu().numpy()

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> str:
        row = int(self.index[i])
        if isinstance(self.images, Tensor):
            return f"{self.part}[{row}]"
        name = getattr(self.images, "source", self.images.location)
        return str(name(row))

    def names(self, positions: Tensor | None = None) -> np.ndarray:
        """The names of the samples at positions (n,), or of all, as an array of text."""
        wanted = range(len(self)) if positions is None else positions.tolist()
        return np.array([self[i] for i in wanted], dtype=np.str_)
