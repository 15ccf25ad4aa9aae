"""What the arrays are that this package's probes leave, so that a damaged one is refused where it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Shape:
    """What one kind of array looks like.

    Args:
        sizes: its shape; None where a size is free, several where it is one of them.
        whole: integers, as classes are.
        finite: neither NaN nor infinite.
    """

    sizes: tuple[int | tuple[int, ...] | None, ...]
    whole: bool = False
    finite: bool = False

    def fits(self, array: np.ndarray) -> bool:
        """Whether an array is of this kind."""
        kinds = "iu" if self.whole else "iuf"
        if array.dtype.kind not in kinds or array.ndim != len(self.sizes):
            return False
        for size, there in zip(self.sizes, array.shape, strict=True):
            if size is not None and there not in (size if isinstance(size, tuple) else (size,)):
                return False
        return not self.finite or bool(np.isfinite(array).all())

    def __str__(self) -> str:
        sizes = ", ".join(
            "n" if size is None else " or ".join(map(str, size)) if isinstance(size, tuple) else str(size)
            for size in self.sizes
        )
        return f"{'finite ' if self.finite else ''}{'integers' if self.whole else 'numbers'} ({sizes})"


SAMPLES = CLASSES = Shape((None,), whole=True)
SHAPES: dict[str, dict[str, Shape]] = {
    "calibration": {"reliability-": Shape((None, 3))},
    "confidence": {"label-prob-": Shape((None,)), "index-": SAMPLES},
    "features": {
        "index-": SAMPLES,
        "tsne-": Shape((None, 2)),
        "label-": CLASSES,
        "pred-": CLASSES,
    },
    "hessian": {"density-": Shape((2, None)), "quadrature-": Shape((2, None, None))},
    "logit-geometry": {"geometry-": Shape((None, (4, 5))), "index-": SAMPLES},
    "masking": {"curve-": Shape((None, 5)), "evidence-": Shape((5,), finite=True)},
}
"""By probe and the beginning of an array's name; arrays of others' probes may be of any shape."""


def why_damaged(probe: str, arrays: Mapping[str, np.ndarray]) -> str:
    """What is wrong with the arrays of a probe at an epoch, in a clause; "" where they are what it leaves.

    Args:
        probe: with the name of second weights after an @, where it measured those.
    """
    shapes = SHAPES.get(probe.partition("@")[0], {})
    for name, array in arrays.items():
        shape = next((shape for begins, shape in shapes.items() if name.startswith(begins)), None)
        if shape is not None and not shape.fits(array):
            return f"{name!r} is {array.dtype} {array.shape}, expected {shape}"
    for name in arrays if probe.partition("@")[0] == "features" else ():
        view = name.partition("-")[2]
        lengths = {
            len(arrays[f"{part}-{view}"]) for part in ("index", "tsne", "label", "pred") if f"{part}-{view}" in arrays
        }
        if len(lengths) > 1 or (name.startswith("tsne-") and f"label-{view}" not in arrays):
            return f"{name!r} and its labels are not of the same samples"
    return ""
