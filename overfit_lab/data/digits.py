"""The digits that ship with scikit-learn: 1,797 images of 8x8, no download (Alpaydin and Kaynak 1998)."""

from __future__ import annotations

from pathlib import Path

import torch

from overfit_lab.data.base import RawData

N_TEST = 797


def digits(argument: str, *, root: Path | None, download: bool) -> RawData:
    """8x8 handwritten digits from scikit-learn; one pool, 797 of it for testing by default. Needs no network."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.tensor(bunch.images / 16 * 255).round().to(torch.uint8).unsqueeze(1)
    return RawData(
        x_train=images,
        y_train=torch.tensor(bunch.target, dtype=torch.int64),
        x_test=None,
        y_test=None,
        class_names=tuple(str(name) for name in bunch.target_names),
        mean=(0.0,),
        std=(1.0,),
        n_test=N_TEST,
    )


REGISTER = {"digits": digits}
