"""Writing a run folder: the configuration first, then records as they come, arrays beside them."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, ClassVar
from weakref import WeakValueDictionary

import numpy as np

from overfit_lab.errors import FolderBusyError, RunFolderError
from overfit_lab.files.arrays import read_arrays, write_arrays
from overfit_lab.files.disk import disk, open_plain
from overfit_lab.files.lines import GrowingLines
from overfit_lab.files.writing import making_folder, write_bytes, write_json
from overfit_lab.records import layout
from overfit_lab.records.dynamics_writer import drop_dynamics_after
from overfit_lab.records.records import KEY, POSTHOC, TRAINING, Record

POSITION, CHECKSUM = "records", "records_crc32"
"""In the notes of a checkpoint that a run goes on from."""


class RunWriter:
    """An open run folder. One process at a time may hold it; use it in a ``with`` block or close it.

    Make one with :meth:`create` or :meth:`reopen`.
    """

    _in_process: ClassVar[WeakValueDictionary[Path, RunWriter]] = WeakValueDictionary()

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = take_lock(folder)
        try:
            self._records = GrowingLines(layout.records_path(folder))
        except OSError:
            self._lock.close()
            raise
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
        disk().unlink(layout.samples_path(folder))
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
            where = error.filename or folder
            raise RunFolderError(f"{where}: cannot be written to ({error.strerror})") from error

    def append(self, records: Sequence[Record]) -> None:
        """Write records, and return when they are on disk.

        Raises:
            OSError: they cannot be written; none of them is there then.
        """
        if records:
            self._records.append("".join(record.to_json() + "\n" for record in records).encode())

    def append_posthoc(self, records: Sequence[Record]) -> None:
        """Write records that were measured from a checkpoint; they say so, and stay when the run is cut back.

        Those of imported weights say that they are. What stands there already with the same value is not written
        again, so that a command which was killed and is repeated leaves what it would have left at once.

        Raises:
            OSError: they cannot be written; none of them is there then.
        """
        self._records.cut_torn_line()
        new = [replace(r, origin=POSTHOC) if r.origin == TRAINING else r for r in records]
        lines = self._records.content().splitlines(keepends=True)
        there = {_told(r): r for line in lines if (r := _record_of(line)) is not None and r.origin != TRAINING}
        self.append([r for r in new if not _same(there.get(_told(r)), r)])

    @property
    def position(self) -> int:
        """Length of records.jsonl in bytes."""
        return self._records.size

    @property
    def notes(self) -> dict[str, int]:
        """What a checkpoint notes of the records that go with it: :attr:`position`, and a checksum up to there."""
        size = self._records.size
        return {POSITION: size, CHECKSUM: self._records.sum_until(size)}

    def check_holds(self, notes: Mapping[str, Any], noted_by: str) -> None:
        """Refuse records that are not those which a checkpoint counts; nothing is written.

        Args:
            notes: of the checkpoint, see :attr:`notes`.
            noted_by: its name.

        Raises:
            RunFolderError: some are missing, or they are others.
        """
        size, checksum = notes.get(POSITION), notes.get(CHECKSUM)
        if not isinstance(size, int) or size < 0 or not isinstance(checksum, int | None):
            raise RunFolderError(f"{noted_by}: damaged, its position in the records is {size!r}")
        self._records.check_prefix(size, checksum, noted_by)

    def truncate(self, position: int) -> None:
        """Cut records.jsonl back to a length that :attr:`position` gave, but for records measured from checkpoints.

        Raises:
            ValueError: it is not that long.
        """
        after = self._records.content()[position:].splitlines(keepends=True)
        stay = [line for line in after if (record := _record_of(line)) is not None and record.origin != TRAINING]
        self._records.cut(position, b"".join(stay))

    def keep_until(self, epoch: int) -> list[Record]:
        """Drop training's records of later epochs, arrays, and a line that a kill cut off; its records that stay.

        Raises:
            RunFolderError: a line in the middle is no record.
        """
        lines = self._records.content().splitlines(keepends=True)
        stay, size = list[Record](), 0
        for number, line in enumerate(lines, start=1):
            record = _record_of(line)
            if record is None and number < len(lines):
                raise RunFolderError(f"{self._records.path}, line {number}: not a record; mend or remove that line")
            if record is None or (record.epoch > epoch and record.origin == TRAINING):
                break
            stay += [record] if record.origin == TRAINING else []
            size += len(line)
        self.truncate(size)
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
        """Remove arrays and dynamics of later epochs, which a resumed run will write again.

        Raises:
            RunFolderError: the dynamics are damaged.
        """
        drop_dynamics_after(self.folder, epoch)
        for path in (self.folder / "arrays").glob("*.npz"):
            match = re.search(r"-(\d+)$", path.stem)
            if match and int(match.group(1)) > epoch:
                disk().unlink(path)

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


def _told(record: Record) -> tuple[Any, ...]:
    """What tells a number that was measured from a checkpoint from others."""
    return (*(getattr(record, name) for name in KEY), record.step, record.origin, record.via)


def _same(before: Record | None, now: Record) -> bool:
    """Whether a number is there already, however long it took."""
    return before is not None and (before.value, before.stderr) == (now.value, now.stderr)


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
        RunFolderError: its lock cannot be opened, or is no file.
    """
    try:
        file = open(folder / ".lock", "ab", opener=open_plain)  # noqa: SIM115 (held until close)
    except OSError as error:
        raise RunFolderError(f"{folder / '.lock'}: cannot be written to ({error.strerror})") from error
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
        with open(folder / ".lock", "rb", opener=open_plain) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
