"""Per-sample training dynamics of a run folder: what the network said of each training sample in each epoch.

See docs/dynamics.md. A view is the images that outputs are of: ``adversarial`` or ``clean``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import numpy as np

from overfit_lab.errors import RunFolderError
from overfit_lab.files.columns import Column, Columns, Form, read_columns
from overfit_lab.records import layout

VIEWS = ("adversarial", "clean")
FULL, COMPACT, RUNNING = "full", "compact", "running"
LIMIT = 20_000_000
"""Samples times epochs beyond which ``auto`` keeps running statistics alone: 180 MB a view would else be written."""
PROBABILITIES_BYTES = 2**27
"""Most for the mean predicted probabilities, N K 4 bytes a view; beyond it they are not kept."""
QUANTITIES = ("loss", "margin", "probability", "distance")
SCALE = 32
"""Steps of a compact margin near 0: code = 128 + round(32 asinh margin)."""


def none_of(dtype: np.dtype[Any]) -> int:
    """The predicted class of a sample that was not seen."""
    return int(np.iinfo(dtype).max)


def class_type(n_classes: int) -> str:
    """The type that predicted classes are kept in."""
    return "|u1" if n_classes < 256 else "<u2"


def columns_of(level: str, n_classes: int) -> tuple[Column, ...]:
    """What is kept of each epoch."""
    predicted = Column("predicted", class_type(n_classes))
    if level == COMPACT:
        return (Column("margin", "|u1"), predicted)
    return (*(Column(name, "<f2") for name in QUANTITIES), predicted)


def running_columns(n_classes: int, *, probabilities: bool) -> tuple[Column, ...]:
    """What is kept over epochs."""
    numbers = [Column(f"{name}_{what}", "<f4") for name in QUANTITIES for what in ("mean", "std")]
    counts = [Column(name, "<i4") for name in COUNTS]
    return (*numbers, *counts, *([Column("probabilities", "<f4", n_classes)] if probabilities else []))


COUNTS = ("n_epochs", "n_correct", "n_forgotten", "first_correct")


def encode_margin(margin: np.ndarray) -> np.ndarray:
    """Margins as bytes: 128 + round(32 asinh margin), cut to 1..255; 0 where there is none.

    A step is 1/32 near 0 and 3% beyond 1; the largest that can be told is 26.
    """
    with np.errstate(invalid="ignore"):
        codes = np.clip(np.rint(SCALE * np.arcsinh(margin)), -127, 127) + 128
    return np.where(np.isnan(margin), 0, codes).astype(np.uint8)


MARGINS = np.concatenate([[np.nan], np.sinh((np.arange(1, 256) - 128) / SCALE)]).astype(np.float32)
"""Margins by their code."""


class SampleDynamics:
    """What was recorded of one view.

    Args:
        per_epoch: None where running statistics alone were kept.
        over_epochs: running statistics; None where there are none (yet).

    Raises:
        RunFolderError: they are not files of ours.
    """

    def __init__(self, view: str, per_epoch: Columns | None, over_epochs: Columns | None, source: str = "") -> None:
        self.view = view
        self._per_epoch, self._over_epochs = per_epoch, over_epochs
        forms = [columns.form for columns in (per_epoch, over_epochs) if columns is not None]
        self.n_samples = forms[0].n_rows
        n_classes = forms[0].notes.get("n_classes")
        if not isinstance(n_classes, int) or not all(form.notes.get("n_classes") == n_classes for form in forms):
            raise RunFolderError(f"{source}: damaged, its number of classes is {str(n_classes)[:60]}")
        self.n_classes = n_classes
        self.level = RUNNING
        if per_epoch is not None:
            levels = {columns_of(level, n_classes): level for level in (FULL, COMPACT)}
            if per_epoch.form.columns not in levels:
                raise RunFolderError(f"{source}: damaged, its columns are not those of training dynamics")
            self.level = levels[per_epoch.form.columns]
        running = {running_columns(n_classes, probabilities=kept) for kept in (False, True)}
        if over_epochs is not None and over_epochs.form.columns not in running:
            raise RunFolderError(f"{source}: damaged, its columns are not those of running statistics")
        if len({form.n_rows for form in forms}) > 1:
            raise RunFolderError(f"{source}: damaged, of {forms[0].n_rows} and of {forms[1].n_rows} samples")

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs (T,) that have a column."""
        return self._per_epoch.epochs if self._per_epoch is not None else ()

    def _kept(self, name: str) -> np.ndarray:
        if self._per_epoch is None or name not in self._per_epoch.arrays:
            raise KeyError(f"{name} of each epoch was not kept (dynamics.keep is {self.level})")
        return self._per_epoch.arrays[name].T

    @property
    def loss(self) -> np.ndarray:
        """-log p_y (N, T) float16; NaN where a sample was not seen."""
        return self._kept("loss")

    @cached_property
    def margin(self) -> np.ndarray:
        """z_y - max_{k != y} z_k (N, T) float16, or float32 to some 3% where compact; NaN where not seen."""
        kept = self._kept("margin")
        return MARGINS[kept] if self.level == COMPACT else kept

    @property
    def probability(self) -> np.ndarray:
        """p_y (N, T) float16; NaN where a sample was not seen."""
        return self._kept("probability")

    @property
    def distance(self) -> np.ndarray:
        """||p - e_y||_2 (N, T) float16; NaN where a sample was not seen."""
        return self._kept("distance")

    @property
    def predicted(self) -> np.ndarray:
        """Predicted class (N, T) uint8, or uint16 of more than 255 classes; the type's largest where not seen."""
        return self._kept("predicted")

    @property
    def running(self) -> Mapping[str, np.ndarray]:
        """Statistics over epochs by name (N,), see docs/dynamics.md; empty where there are none."""
        if self._over_epochs is None or not self._over_epochs.epochs:
            return {}
        return {name: array[0] for name, array in self._over_epochs.arrays.items() if name != "probabilities"}

    @property
    def running_epoch(self) -> int:
        """The epoch up to which they are; 0 where there are none."""
        return self._over_epochs.epochs[-1] if self._over_epochs is not None and self._over_epochs.epochs else 0

    @property
    def probabilities(self) -> np.ndarray | None:
        """The mean over epochs of the predicted probabilities (N, K) float32; None where they were not kept."""
        if self._over_epochs is None or not self._over_epochs.epochs:
            return None
        kept = self._over_epochs.arrays.get("probabilities")
        return None if kept is None else kept[0]


class FolderDynamics(Mapping[str, SampleDynamics]):
    """The views that a run folder has dynamics of, each read when it is asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, SampleDynamics] = {}

    def _paths(self, view: str) -> list[Path]:
        return [path(self._folder, view) for path in (layout.dynamics_path, layout.running_path)]

    def __iter__(self) -> Iterator[str]:
        return (view for view in VIEWS if any(path.is_file() for path in self._paths(view)))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, view: str) -> SampleDynamics:
        """The dynamics of a view.

        Raises:
            KeyError: there are none.
            RunFolderError: damaged.
        """
        if view not in tuple(self):
            raise KeyError(f"no dynamics of {view} images; there are: {', '.join(self) or 'none'}")
        if view not in self._read:
            first, second = self._paths(view)
            per_epoch, running = (read_columns(path) if path.is_file() else None for path in (first, second))
            self._read[view] = SampleDynamics(view, per_epoch, running, str(first))
        return self._read[view]


@dataclass(frozen=True)
class ProbedDynamics:
    """What the probe ``dynamics`` left of several epochs, of the samples that all of them have.

    Args:
        index: positions of the samples in their split (n,), in ascending order.
        epochs: T of them.
        loss: (n, T) float16; and so ``margin``, ``probability`` and ``distance``.
        predicted: class (n, T) int32.
    """

    index: np.ndarray
    epochs: tuple[int, ...]
    loss: np.ndarray
    margin: np.ndarray
    probability: np.ndarray
    distance: np.ndarray
    predicted: np.ndarray


def joined(arrays: Mapping[int, Mapping[str, np.ndarray]], split: str, inputs: str) -> ProbedDynamics:
    """The arrays of the probe by epoch, put together; those that lack a view are passed over.

    Raises:
        RunFolderError: an epoch's arrays do not belong together.
    """
    names = (*QUANTITIES, "predicted")
    of_view = f"{split}-{inputs}"
    having = {epoch: found for epoch, found in sorted(arrays.items()) if f"index-{of_view}" in found}
    columns: dict[str, list[np.ndarray]] = {name: [] for name in names}
    indices = [found[f"index-{of_view}"] for found in having.values()]
    common = reduce(np.intersect1d, indices) if indices else np.zeros(0, np.int64)
    for epoch, found in having.items():
        index = found[f"index-{of_view}"]
        rows = [found.get(f"{name}-{of_view}") for name in names]
        if index.ndim != 1 or not all(row is not None and row.shape == index.shape for row in rows):
            raise RunFolderError(f"arrays of dynamics of epoch {epoch}: damaged, they are not of the same samples")
        order = np.argsort(index)
        at = order[np.searchsorted(index[order], common)]
        for name, row in zip(names, rows, strict=True):
            columns[name].append(row[at])  # type: ignore[index]
    stacked = {name: np.stack(parts, axis=1) if parts else np.zeros((0, 0)) for name, parts in columns.items()}
    return ProbedDynamics(common, tuple(having), **stacked)


def form_of(n_samples: int, n_classes: int, columns: tuple[Column, ...], view: str) -> Form:
    """The head of a file."""
    return Form(n_samples, columns, {"split": "train", "view": view, "n_classes": n_classes})
