"""Reading a run folder repeatedly, each time only its new records."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from overfit_lab.config import RunConfig, load_config
from overfit_lab.errors import RunFolderError
from overfit_lab.files.escape import as_unicode
from overfit_lab.files.json_text import read_object
from overfit_lab.files.limits import RECORD_BYTES, RECORDS_BYTES
from overfit_lab.files.reading import cause, open_file
from overfit_lab.records import layout
from overfit_lab.records.records import POSTHOC, Record
from overfit_lab.records.schema import RunInfo, sound
from overfit_lab.views.live.numbers import Numbers

KNOWN = 4096
"""Bytes before the position that are compared at each look, to detect that the file was cut back and rewritten."""
PIECE = 1000
"""Lines of a run that are parsed at a time, so that a look at a long one takes no more memory than at a short one."""


class Follower:
    """The records that were added to a file since the last look.

    A last line without its end is left for the next look. A file that was cut back, as a resumed run does, or replaced
    is read from its beginning again; so is one that was cut back and has grown past the old position meanwhile, which
    shows in the bytes before that.

    Args:
        path: of the file; it may not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = 0
        self._n_lines = 0
        self._before = b""

    def look(self, most: int | None = None) -> tuple[bool, list[Record]]:
        """Whether earlier records no longer stand, and the records that are new. Cost: the new lines are parsed.

        Args:
            most: lines that are read, so that the rest is for the next look; None: all.

        Raises:
            RunFolderError: a whole line is no record; the message names it.
        """
        try:
            with open_file(self.path, RECORDS_BYTES) as file:
                again = not self._is_as_it_was(file)
                if again:
                    self._position, self._n_lines, self._before = 0, 0, b""
                lines = self._lines_of(file, most)
        except FileNotFoundError:
            again = self._position > 0
            self._position, self._n_lines, self._before = 0, 0, b""
            return again, []
        except OSError as error:
            raise RunFolderError(f"{self.path}: cannot be read ({cause(error)})") from error
        records = self._parse(lines)
        self._n_lines += len(lines)
        self._position += sum(map(len, lines))
        self._before = (self._before + b"".join(lines[-KNOWN:]))[-KNOWN:]
        return again, records

    def _lines_of(self, file: Any, most: int | None) -> list[bytes]:
        """The whole lines from the position on, so many at most.

        Raises:
            RunFolderError: one is longer than any record.
        """
        file.seek(self._position)
        lines = list[bytes]()
        while (most is None or len(lines) < most) and (line := file.readline(RECORD_BYTES + 1)):
            if len(line) > RECORD_BYTES:
                raise RunFolderError(f"{self.path}: damaged, a line has more than {RECORD_BYTES} bytes")
            if not line.endswith(b"\n"):
                break
            lines.append(line)
        return lines

    def _is_as_it_was(self, file: Any) -> bool:
        if os.fstat(file.fileno()).st_size < self._position:
            return False
        file.seek(self._position - len(self._before))
        return bool(file.read(len(self._before)) == self._before)

    def _parse(self, lines: list[bytes]) -> list[Record]:
        records = []
        for number, line in enumerate(lines, start=self._n_lines + 1):
            try:
                if line.strip():
                    records.append(Record.from_json(line.decode("utf-8")))
            except ValueError as error:
                raise RunFolderError(f"{self.path}, line {number}: not a record ({error})") from error
        return records


@dataclass
class Pace:
    """Estimates the seconds of an epoch from the times at which epochs were first seen."""

    first: tuple[int, float] | None = None
    last: tuple[int, float] | None = None

    def seen(self, epoch: int, time: float) -> None:
        """Note that ``epoch`` epochs were complete at a time."""
        if epoch and (self.first is None or self.last is None or epoch < self.last[0]):
            self.first = self.last = (epoch, time)
        elif self.last is not None and epoch > self.last[0]:
            self.last = (epoch, time)

    @property
    def seconds(self) -> float | None:
        """None before a second epoch was seen."""
        if self.first is None or self.last is None or self.last[0] == self.first[0]:
            return None
        return max(0.0, (self.last[1] - self.first[1]) / (self.last[0] - self.first[0]))


@dataclass
class Followed:
    """A run folder that is read repeatedly.

    Args:
        folder: of the run.
    """

    folder: Path
    numbers: Numbers = field(default_factory=Numbers)
    info: dict[str, Any] = field(default_factory=dict)
    changed: float = 0.0
    pace: Pace = field(default_factory=Pace)

    def __post_init__(self) -> None:
        layout.check_run(self.folder)
        self.name = as_unicode(self.folder.resolve().name)
        self.config: RunConfig = load_config(layout.config_path(self.folder))
        self._records = Follower(layout.records_path(self.folder))
        self._posthoc = Follower(layout.posthoc_path(self.folder))

    def look(self) -> None:
        """Take in what is new: records, those measured later from checkpoints, and run.json.

        Raises:
            RunFolderError: a file is damaged.
        """
        while not self._read_on():
            self.numbers = Numbers()
            self._records, self._posthoc = Follower(self._records.path), Follower(self._posthoc.path)
        self.info = sound(read_object(layout.info_path(self.folder)), RunInfo)
        written = _modified(self._records.path)
        self.changed = max(written, _modified(layout.info_path(self.folder)))
        self.pace.seen(self.numbers.trained, written)

    def _read_on(self) -> bool:
        """Take in the records that are new, a piece at a time; False where earlier ones no longer stand."""
        for follower in (self._posthoc, self._records):
            again, records = follower.look(PIECE)
            while records and not again:
                if follower is self._posthoc:
                    records = [replace(record, origin=POSTHOC) for record in records]
                self.numbers.add(records)
                again, records = follower.look(PIECE)
            if again:
                return False
        return True


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
