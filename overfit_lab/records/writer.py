"""Writing a run folder: the configuration first, then records as they come, arrays beside them."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, ClassVar
from weakref import WeakValueDictionary

import numpy as np

from overfit_lab.errors import FolderBusyError, RunFolderError
from overfit_lab.files.arrays import read_arrays, write_arrays
from overfit_lab.files.writing import making_folder, write_bytes, write_json
from overfit_lab.records import layout
from overfit_lab.records.records import POSTHOC, TRAINING, Record


class RunWriter:
    """An open run folder. One process at a time may hold it; use it in a ``with`` block or close it.

    Make one with :meth:`create` or :meth:`reopen`.
    """

    _in_process: ClassVar[WeakValueDictionary[Path, RunWriter]] = WeakValueDictionary()

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = take_lock(folder)
        self._records: IO[bytes] = open(layout.records_path(folder), "ab")  # noqa: SIM115 (closed by close)
        self._in_process[folder.resolve()] = self

    @classmethod
    def create(cls, folder: Path, config_yaml: str, info: Mapping[str, Any]) -> RunWriter:
        """Make the folder with its configuration and run.json in it; it appears whole or not at all.

        Args:
            folder: must not exist, be empty or be blank, see :func:`overfit_lab.records.layout.is_blank`; a writer of
                this process that holds it blank lets go of it.
            config_yaml: the complete configuration.
            info: what run.json says.

        Raises:
            RunFolderError: occupied, or it cannot be made.
        """
        layout.check_vacant(folder)
        if layout.is_blank(folder):
            return cls._begin_anew(folder, config_yaml, info)
        try:
            with making_folder(folder) as beginning:
                write_bytes(layout.config_path(beginning), config_yaml.encode())
                write_json(layout.info_path(beginning), info)
        except OSError as error:
            raise RunFolderError(f"{folder}: cannot write a run folder there ({error.strerror})") from error
        return cls(folder)

    @classmethod
    def _begin_anew(cls, folder: Path, config_yaml: str, info: Mapping[str, Any]) -> RunWriter:
        before = cls._in_process.get(folder.resolve())
        if before is not None:
            before.close()
        writer = cls.reopen(folder)
        layout.samples_path(folder).unlink(missing_ok=True)
        writer.replace_info(info)
        write_bytes(layout.config_path(folder), config_yaml.encode())
        return writer

    @classmethod
    def reopen(cls, folder: Path) -> RunWriter:
        """Open a run folder to go on writing.

        Raises:
            RunFolderError: no run, or another process writes to it.
        """
        layout.check_run(folder)
        try:
            return cls(folder)
        except OSError as error:
            raise RunFolderError(f"{folder}: cannot write there ({error.strerror})") from error

    def append(self, records: Sequence[Record]) -> None:
        """Write records, and return when they are on disk."""
        _append(self._records, records)

    def append_posthoc(self, records: Sequence[Record]) -> None:
        """Write records that were measured from a checkpoint; they say so, and stay when the run is cut back.

        Those of imported weights say that they are.
        """
        self._cut_torn_line()
        _append(self._records, [replace(r, origin=POSTHOC) if r.origin == TRAINING else r for r in records])

    def _cut_torn_line(self) -> None:
        """Drop a last line that a kill cut off, so that the next record begins a line of its own."""
        content = layout.records_path(self.folder).read_bytes()
        if not content.endswith(b"\n"):
            self._records.truncate(content.rfind(b"\n") + 1)

    @property
    def position(self) -> int:
        """Length of records.jsonl in bytes."""
        return self._records.seek(0, os.SEEK_END)

    def truncate(self, position: int) -> None:
        """Cut records.jsonl back to a length that :attr:`position` gave, but for records measured from checkpoints."""
        path = layout.records_path(self.folder)
        with open(path, "rb") as file:
            file.seek(position)
            after = file.read().splitlines(keepends=True)
        stay = [line for line in after if (record := _record_of(line)) is not None and record.origin != TRAINING]
        if not stay:
            self._records.truncate(position)
            self._records.seek(0, os.SEEK_END)
            return
        # In one go: a kill between a cut and a second writing would lose them.
        write_bytes(path, path.read_bytes()[:position] + b"".join(stay))
        self._records.close()
        self._records = open(path, "ab")  # noqa: SIM115 (closed by close)

    def keep_until(self, epoch: int) -> list[Record]:
        """Drop training's records of later epochs, arrays, and a line that a kill cut off; its records that stay."""
        stay, position = [], 0
        for line in layout.records_path(self.folder).read_bytes().splitlines(keepends=True):
            record = _record_of(line)
            if record is None or (record.epoch > epoch and record.origin == TRAINING):
                break
            stay += [record] if record.origin == TRAINING else []
            position += len(line)
        self.truncate(position)
        self.drop_arrays_after(epoch)
        return stay

    def save_arrays(
        self, probe: str, epoch: int, arrays: Mapping[str, np.ndarray], *, keep_others: bool = False
    ) -> None:
        """Write the arrays of one probe at one epoch as a compressed .npz, atomically.

        Args:
            probe: its name.
            epoch: completed epochs.
            arrays: by name.
            keep_others: arrays of other names that are there stay, as a later look at other inputs must not lose them.

        Raises:
            ValueError: an array of Python objects, which only a pickle could hold.
            RunFolderError: what is there is damaged.
        """
        path = layout.arrays_path(self.folder, probe, epoch)
        others = read_arrays(path) if keep_others and path.is_file() else {}
        write_arrays(path, {**others, **arrays})

    def drop_arrays_after(self, epoch: int) -> None:
        """Remove arrays of later epochs, which a resumed run will write again."""
        for path in (self.folder / "arrays").glob("*.npz"):
            match = re.search(r"-(\d+)$", path.stem)
            if match and int(match.group(1)) > epoch:
                path.unlink()

    def update_info(self, **changes: Any) -> None:
        """Change keys of run.json, atomically."""
        self.replace_info({**layout.read_info(self.folder), **changes})

    def add_to_info(self, key: str, line: str) -> None:
        """Add a line to a list of run.json, atomically, unless it is there."""
        there = layout.read_info(self.folder).get(key, [])
        if line not in there:
            self.update_info(**{key: [*there, line]})

    def replace_info(self, content: Mapping[str, Any]) -> None:
        """Write run.json anew, atomically."""
        write_json(layout.info_path(self.folder), content)

    @property
    def closed(self) -> bool:
        """Whether the folder was let go of."""
        return self._lock.closed

    def close(self) -> None:
        """Close the files and let go of the folder."""
        self._records.close()
        self._lock.close()

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _append(file: IO[bytes], records: Sequence[Record]) -> None:
    if records:
        file.write("".join(record.to_json() + "\n" for record in records).encode())
        file.flush()
        os.fsync(file.fileno())


def _record_of(line: bytes) -> Record | None:
    """The record of a line; None for one that is damaged or that a kill cut off."""
    try:
        return Record.from_json(line.decode()) if line.endswith(b"\n") else None
    except (ValueError, TypeError):
        return None


def take_lock(folder: Path) -> IO[bytes]:
    """Hold a folder for this process, until the file that is returned is closed or the process ends.

    Raises:
        FolderBusyError: another process holds it.
    """
    file = open(folder / ".lock", "ab")  # noqa: SIM115 (held until close)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise FolderBusyError(f"{folder}: another process is writing to it") from error
    return file


def is_held(folder: Path) -> bool:
    """Whether a process on this machine holds a folder. Nothing is written; the folder is held shared for an instant.

    False too where there is no lock file or it cannot be read.
    """
    try:
        with open(folder / ".lock", "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
