"""Reading run folders into pandas. Files are data: nothing in them is executed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from overfit_lab.config import RunConfig
from overfit_lab.errors import RunFolderError
from overfit_lab.files.arrays import read_arrays
from overfit_lab.files.escape import as_unicode
from overfit_lab.files.limits import RECORD_BYTES, RECORDS_BYTES
from overfit_lab.files.reading import cause, open_file
from overfit_lab.records import layout
from overfit_lab.records.array_shapes import why_damaged
from overfit_lab.records.computed import config_of
from overfit_lab.records.dynamics import FolderDynamics, ProbedDynamics, joined
from overfit_lab.records.records import FIELDS, KEY, POSTHOC, TRAINING, Record
from overfit_lab.records.records import standing as standing_rows
from overfit_lab.records.status import standing

SERIES = ["epoch", "value", "stderr", "n"]
"""Columns of a series."""


class Run:
    """One run folder, read lazily.

    Args:
        folder: a run folder.

    Raises:
        RunFolderError: it holds no run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = layout.check_run(folder)

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """The run of a folder."""
        return cls(Path(folder))

    @property
    def name(self) -> str:
        """Name of the folder, with what is no text in it shown by its number."""
        return as_unicode(self.folder.resolve().name)

    @cached_property
    def config(self) -> RunConfig:
        """The complete configuration, whatever version wrote it, in the precision that the run computes in."""
        return config_of(self.folder)

    @cached_property
    def info(self) -> dict[str, Any]:
        """run.json: status, seed, versions, hardware, decays, best epoch.

        Raises:
            RunFolderError: damaged.
        """
        return layout.read_info(self.folder)

    @property
    def status(self) -> str:
        """How the run stands, see :func:`overfit_lab.records.status.standing`."""
        return standing(self.folder, self.info)

    @property
    def is_imported(self) -> bool:
        """Whether the weights were trained elsewhere and only measured here."""
        return self.info.get("status") == layout.IMPORTED

    @property
    def sizes(self) -> dict[str, int]:
        """Samples of each split, where run.json says so."""
        data = self.info.get("data")
        return data.get("sizes", {}) if isinstance(data, dict) else {}

    @cached_property
    def _rows(self) -> pd.DataFrame:
        """Every record there is: those of training in the order in which they were written, then those made later."""
        records: list[Record] = []
        for path, origin in ((layout.posthoc_path(self.folder), POSTHOC), (layout.records_path(self.folder), None)):
            rows = read_records(path)
            records += rows if origin is None else [replace(row, origin=origin) for row in rows]
        records.sort(key=lambda record: record.origin != TRAINING)
        if self.is_imported:  # earlier versions wrote the epochs of a configuration that they were not trained by
            records = [replace(record, epoch=0, step=0) for record in records]
        return to_frame(records)

    @cached_property
    def records(self) -> pd.DataFrame:
        """Every number, one a row: column run, and the fields of :class:`overfit_lab.records.records.Record`.

        Of two records of the same number the one measured later stands.
        """
        frame = self._rows.drop_duplicates(list(KEY), keep="last")
        frame.insert(0, "run", self.name)
        return frame.sort_values(["epoch", "step"], kind="stable", ignore_index=True)

    def series(self, probe: str, field: str, split: str | None = None, inputs: str | None = None) -> pd.DataFrame:
        """One number over epochs: columns epoch, value, stderr, n, sorted; empty where it was never measured.

        Where an epoch has it several times, :func:`overfit_lab.records.records.standing` says which stands.
        """
        frame = self._rows
        chosen = (frame["probe"] == probe) & (frame["field"] == field)
        if split is not None:
            chosen &= frame["split"] == split
        if inputs is not None:
            chosen &= frame["inputs"] == inputs
        part = frame.loc[chosen, [*SERIES, "origin"]].dropna(subset=["value"])
        which = standing_rows(part["epoch"], part["n"].fillna(0), part["origin"] != TRAINING)
        return part.iloc[which][SERIES].reset_index(drop=True)

    def value_at(self, epoch: int, probe: str, field: str, split: str, inputs: str) -> float | None:
        """One number at one epoch; None where it was not measured then."""
        part = self.series(probe, field, split, inputs)
        values = part.loc[part["epoch"] == epoch, "value"]
        return float(values.iloc[0]) if len(values) else None

    def arrays(self, probe: str, epoch: int) -> dict[str, np.ndarray]:
        """The arrays of one probe at one epoch, by name; empty where there are none.

        Raises:
            RunFolderError: the file is damaged, or holds anything but plain arrays as the probe leaves them.
        """
        path = layout.arrays_path(self.folder, probe, epoch)
        if not path.is_file():
            return {}
        arrays = read_arrays(path)
        if reason := why_damaged(probe, arrays):
            raise RunFolderError(f"{path}: damaged, {reason}")
        return arrays

    @cached_property
    def dynamics(self) -> FolderDynamics:
        """What the network said of each training sample in each epoch, by view: ``adversarial`` and ``clean``."""
        return FolderDynamics(self.folder)

    def probed_dynamics(self, split: str = "train", inputs: str = "adversarial") -> ProbedDynamics:
        """What the probe ``dynamics`` found at each epoch at which it was measured, such as at every checkpoint.

        Raises:
            RunFolderError: a file is damaged.
        """
        probe = "dynamics"
        return joined({epoch: self.arrays(probe, epoch) for epoch in self.epochs_with_arrays(probe)}, split, inputs)

    def epochs_with_arrays(self, probe: str) -> list[int]:
        """Epochs at which the probe left arrays, in order."""
        pattern = layout.arrays_path(self.folder, probe, 0).name.replace("0000", "*")
        epochs = [path.stem.rsplit("-", 1)[1] for path in (self.folder / "arrays").glob(pattern)]
        numbers = sorted(int(epoch) for epoch in epochs if epoch.isdecimal())
        return [0] if self.is_imported and 0 in numbers else numbers


def to_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Records as rows in their order: ``n`` are integers, with pandas' missing value where one is not known."""
    frame = pd.DataFrame([[getattr(record, name) for name in FIELDS] for record in records], columns=list(FIELDS))
    for column in ("value", "stderr", "seconds"):
        frame[column] = frame[column].astype(float)
    frame["n"] = frame["n"].astype("Int64" if frame["n"].isna().any() else "int64")
    return frame


def read_records(path: Path, *, containing: str = "") -> list[Record]:
    """The records of a file. A last line that was cut off by a kill is passed over.

    Args:
        path: the file.
        containing: lines without this text are passed over unread.

    Raises:
        RunFolderError: another line is no record, and the message names it; or the file cannot be read.
    """
    records, needle = [], containing.encode()
    for number, line in enumerate(lines_of(path), start=1):
        if needle not in line or line.isspace():
            continue
        try:
            records.append(Record.from_json(line.decode("utf-8")))
        except ValueError as error:
            if not line.endswith(b"\n"):
                break
            raise RunFolderError(f"{path}, line {number}: not a record ({error})") from error
    return records


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of a file of records with their ends; the last may have none. Nothing where there is no file.

    Raises:
        RunFolderError: it cannot be read, or file or line is longer than any is.
    """
    try:
        with open_file(path, RECORDS_BYTES) as file:
            while line := file.readline(RECORD_BYTES + 1):
                if len(line) > RECORD_BYTES:
                    raise RunFolderError(f"{path}: damaged, a line has more than {RECORD_BYTES} bytes")
                yield line
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read ({cause(error)})") from error


def find_runs(paths: Iterable[str | Path]) -> list[Run]:
    """The runs of some paths, each a run folder or a folder that holds run folders, up to two levels down.

    A run that several paths lead to comes once. Hidden folders below a path, such as the beginning of a run that was
    killed, are passed over.

    Raises:
        RunFolderError: a path does not exist or holds no run.
    """
    runs: dict[Path, Run] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            raise RunFolderError(f"{path}: no such run folder")
        below = [p.parent for pattern in ("*/run.json", "*/*/run.json") for p in path.glob(pattern)]
        visible = [folder for folder in below if layout.is_run(folder) and not _is_hidden(folder.relative_to(path))]
        folders = [path] if layout.is_run(path) else sorted(visible)
        if not folders:
            raise RunFolderError(f"{path}: holds no run (no folder with config.yaml and run.json)")
        for folder in folders:
            runs.setdefault(folder.resolve(), Run(folder))
    return list(runs.values())


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
