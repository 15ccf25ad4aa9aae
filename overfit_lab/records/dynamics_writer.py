"""Writing per-sample training dynamics into a run folder: a block an epoch, and statistics in the place of the last."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from overfit_lab.errors import RunFolderError
from overfit_lab.files.columns import GrowingColumns, cut_columns, read_columns, write_columns
from overfit_lab.files.disk import disk
from overfit_lab.records import layout
from overfit_lab.records.dynamics import (
    COMPACT,
    FULL,
    LIMIT,
    QUANTITIES,
    RUNNING,
    VIEWS,
    class_type,
    columns_of,
    encode_margin,
    form_of,
    none_of,
    running_columns,
)


def level_of(keep: str, n_samples: int, n_epochs: int, folder: Path) -> str:
    """What is kept of each epoch: ``full``, ``compact`` or ``running``.

    ``auto`` is what the folder has already, else ``full`` up to :data:`LIMIT` samples times epochs.

    Raises:
        RunFolderError: what the folder has is damaged.
    """
    if keep != "auto":
        return keep
    for view in VIEWS:
        path = layout.dynamics_path(folder, view)
        if path.is_file():
            n_columns = len(read_columns(path).form.columns)
            return FULL if n_columns == len(columns_of(FULL, 2)) else COMPACT
    if any(layout.running_path(folder, view).is_file() for view in VIEWS):
        return RUNNING
    return FULL if n_samples * n_epochs <= LIMIT else RUNNING


class DynamicsWriter:
    """Writes what :class:`overfit_lab.training.dynamics.Dynamics` comes to, epoch by epoch.

    Args:
        folder: of the run.
        level: ``full``, ``compact`` or ``running``.
    """

    def __init__(self, folder: Path, level: str) -> None:
        self.folder = folder
        self.level = level
        self._growing: dict[str, GrowingColumns] = {}

    def write(
        self,
        view: str,
        epoch: int,
        numbers: Mapping[str, np.ndarray],
        running: Mapping[str, np.ndarray],
        n_classes: int,
    ) -> None:
        """Write an epoch of a view.

        Args:
            view: ``adversarial`` or ``clean``.
            epoch: completed epochs.
            numbers: loss, margin, probability and distance (N,), NaN where a sample was not seen, and predicted class
                (N,), negative where not seen.
            running: statistics over epochs, see :func:`overfit_lab.records.dynamics.running_columns`.
            n_classes: K.

        Raises:
            OSError: they cannot be written.
            RunFolderError: what is there is damaged.
        """
        n_samples = len(numbers["predicted"])
        if self.level != RUNNING:
            self._of(view, n_samples, n_classes).append(epoch, self._packed(numbers, n_classes))
        self.write_running(view, epoch, running, n_classes)

    def write_running(self, view: str, epoch: int, running: Mapping[str, np.ndarray], n_classes: int) -> None:
        """Put the statistics of an epoch in the place of those that are there."""
        columns = running_columns(n_classes, probabilities="probabilities" in running)
        form = form_of(len(running["n_epochs"]), n_classes, columns, view)
        write_columns(layout.running_path(self.folder, view), form, epoch, running)

    def _of(self, view: str, n_samples: int, n_classes: int) -> GrowingColumns:
        if view not in self._growing:
            form = form_of(n_samples, n_classes, columns_of(self.level, n_classes), view)
            self._growing[view] = GrowingColumns(layout.dynamics_path(self.folder, view), form)
        return self._growing[view]

    def _packed(self, numbers: Mapping[str, np.ndarray], n_classes: int) -> dict[str, np.ndarray]:
        dtype = np.dtype(class_type(n_classes))
        predicted = np.where(numbers["predicted"] < 0, none_of(dtype), numbers["predicted"]).astype(dtype)
        if self.level == COMPACT:
            return {"margin": encode_margin(numbers["margin"]), "predicted": predicted}
        return {**{name: numbers[name].astype(np.float16) for name in QUANTITIES}, "predicted": predicted}


def drop_dynamics_after(folder: Path, epoch: int) -> None:
    """Remove what was written of later epochs, which a resumed run will write again.

    Statistics over later epochs go as a whole; the run writes them anew from its checkpoint.

    Raises:
        RunFolderError: damaged.
        OSError: it cannot be written.
    """
    for view in VIEWS:
        growing, running = layout.dynamics_path(folder, view), layout.running_path(folder, view)
        if growing.is_file():
            cut_columns(growing, epoch)
        if running.is_file() and (not (there := _epochs(running)) or there[-1] > epoch):
            disk().unlink(running)


def _epochs(path: Path) -> tuple[int, ...]:
    """Epochs of a file; none of one that a power cut left in pieces."""
    try:
        return read_columns(path).epochs
    except RunFolderError:
        return ()
