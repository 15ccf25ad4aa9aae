"""What was measured of a run up to an epoch, as probes see it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from overfit_lab.records import layout
from overfit_lab.records.reader import Run, read_records
from overfit_lab.records.records import TRAINING, Record, standing_records

BEFORE_PROBES = ("training", "evaluation")
"""What is recorded before any probe looks; of these the present epoch's numbers are there, live as well as later."""


class RunHistory(ABC):
    """Records and arrays of a run as they stood when an epoch ended.

    Args:
        epoch: completed epochs; what was measured later is not shown.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def series(
        self, probe: str, field: str, split: str = "", inputs: str = ""
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Epochs, values and standard errors, each (m,); see :class:`overfit_lab.probes.snapshot.History`.

        Where an epoch has the number several times, :func:`overfit_lab.records.records.standing` says which stands.
        """
        until = self.epoch if probe.partition("@")[0] in BEFORE_PROBES else self.epoch - 1
        number = (probe, field, split, inputs)
        before = (row for row in self._records(probe, field) if row.origin == TRAINING and row.epoch <= until)
        rows = standing_records([r for r in before if (r.probe, r.field, r.split, r.inputs) == number])
        values = np.array([row.value for row in rows], dtype=np.float64)
        errors = np.array([row.stderr for row in rows], dtype=np.float64)  # None becomes NaN
        return np.array([row.epoch for row in rows], dtype=np.int64), values, errors

    @abstractmethod
    def arrays(self, probe: str, name: str) -> tuple[int, np.ndarray] | None:
        """The latest array of that name from an earlier epoch, with its epoch; None where there is none."""

    @abstractmethod
    def _records(self, probe: str, field: str) -> Iterable[Record]:
        """The records of one number at least; others may be among them."""


class FolderHistory(RunHistory):
    """The history in a run folder: what training recorded, without what was measured later from checkpoints.

    So a probe sees the same from a checkpoint as it saw live. Arrays that were measured from checkpoints count, since
    they lie in the same files. Files are read when asked for, and only the lines that matter are parsed.

    Args:
        folder: the run folder.
        epoch: completed epochs.
    """

    def __init__(self, folder: Path, epoch: int) -> None:
        super().__init__(epoch)
        self.folder = folder

    def arrays(self, probe: str, name: str) -> tuple[int, np.ndarray] | None:
        """See :class:`overfit_lab.probes.snapshot.History`.

        Raises:
            RunFolderError: a file of arrays is damaged.
        """
        run = Run.open(self.folder)
        for epoch in reversed(run.epochs_with_arrays(probe)):
            arrays = run.arrays(probe, epoch) if epoch < self.epoch else {}
            if name in arrays:
                return epoch, arrays[name]
        return None

    def _records(self, probe: str, field: str) -> Iterable[Record]:
        path = layout.records_path(self.folder)
        return read_records(path, containing=json.dumps(field, ensure_ascii=False))


class MemoryHistory(RunHistory):
    """The history of a run that is in memory.

    Args:
        epoch: completed epochs.
        records: everything recorded so far.
        latest: of each probe the epoch and the arrays that it measured last.
    """

    def __init__(
        self, epoch: int, records: Sequence[Record], latest: Mapping[str, tuple[int, Mapping[str, np.ndarray]]]
    ) -> None:
        super().__init__(epoch)
        self.records = records
        self.latest = latest

    def arrays(self, probe: str, name: str) -> tuple[int, np.ndarray] | None:
        """See :class:`~.snapshot.History`; an array that a probe did not measure the last time is gone."""
        epoch, arrays = self.latest.get(probe, (self.epoch, {}))
        return (epoch, arrays[name]) if name in arrays and epoch < self.epoch else None

    def _records(self, probe: str, field: str) -> Iterable[Record]:
        return self.records


def no_history() -> MemoryHistory:
    """That of a run which has not begun."""
    return MemoryHistory(0, [], {})
