"""Signs of life: which process trains a cell, in one small file a cell beside its folder, on the shared disk.

The lock of a run folder holds among the processes of one machine. Between machines the file holds: whoever begins a
cell writes a token of its own into it, and whoever finds another token than its own ends at once, without a word more
in the folder. So a process that was given up for lost and comes back spoils nothing.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from overfit_lab.files.terminal import to_stderr
from overfit_lab.files.writing import make_folder, replacing

BEAT = 5.0
"""Seconds between signs of life."""
LEASE = 30.0
"""Seconds without a sign of life after which a process on another machine counts as gone."""
BEATS = "beats"
"""The folder of the signs of life of a sweep's cells."""
OUSTED = 75
"""Exit status of a process that finds that its cell was given to another."""


@dataclass(frozen=True)
class Beat:
    """What the file says.

    Args:
        token: of who may write to the cell's folder.
        state: ``queued``, ``running``, ``completed``, ``failed`` or ``stopped``.
        host: where it runs or ran.
        pid: of the process that looks after it there.
        share: of its epochs that were done, in [0, 1].
        text: where it stands, in words.
        failure: why it failed, in one line.
        job: what the backend calls it, such as the number of a Slurm job.
        time: of the sign of life, in seconds since 1970.
    """

    token: str
    state: str
    host: str = ""
    pid: int = 0
    share: float = 0.0
    text: str = ""
    failure: str = ""
    job: str = ""
    time: float = 0.0

    @property
    def is_alive(self) -> bool:
        """Whether its process shows signs of life: on this machine by its number, on others by the file's age."""
        if self.state != "running":
            return False
        if self.host == socket.gethostname():
            return _exists(self.pid)
        return time.time() - self.time < LEASE


def beat_path(cell: Path) -> Path:
    """The file of a cell's signs of life, beside its run folder."""
    return cell.parent / BEATS / f"{cell.name}.json"


def read_beat(path: Path) -> Beat | None:
    """The file's content; None where there is none or it is damaged."""
    try:
        return Beat(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_beat(path: Path, beat: Beat) -> Beat:
    """Replace the file as a whole, with the time of now."""
    make_folder(path.parent)
    beat = replace(beat, time=time.time())
    with replacing(path, shared=True) as file:
        file.write(json.dumps(asdict(beat)).encode())
    return beat


def claim(path: Path, state: str = "running") -> Beat:
    """Take a cell for this process; a process that has it on another machine ends at its next sign of life.

    Where that machine showed signs of life lately, waits until its process has ended.
    """
    before = read_beat(path)
    beat = Beat(secrets.token_hex(8), state, socket.gethostname(), os.getpid(), job=before.job if before else "")
    if before is not None:
        beat = replace(beat, share=before.share)
    beat = write_beat(path, beat)
    if before is not None and before.is_alive and before.host != beat.host:
        time.sleep(2 * BEAT)
    return beat


def release(path: Path, token: str, state: str, failure: str = "") -> None:
    """Write how it ended, if the cell is still this token's."""
    beat = read_beat(path)
    if beat is not None and beat.token == token:
        write_beat(path, replace(beat, state=state, failure=failure))


class Heart:
    """Signs of life of the process that trains a cell; ends the process when the cell was given to another.

    Args:
        path: the cell's file.
        token: the one that may write.
    """

    def __init__(self, path: Path, token: str) -> None:
        self._path, self._token = path, token
        self._share, self._text = 0.0, ""
        self._last = 0.0
        self._lock = threading.Lock()

    def progressed(self, share: float, text: str) -> None:
        """Where the run stands; the file is written at most twice a second."""
        self._share, self._text = share, text
        if time.monotonic() - self._last > 0.5:
            self.beat()

    def check(self) -> None:
        """End this process at once if the cell was given to another."""
        beat = read_beat(self._path)
        if beat is not None and beat.token != self._token:
            to_stderr(f"the cell was given to a process on {beat.host}; this one ends")
            os._exit(OUSTED)

    def beat(self) -> None:
        """Give a sign of life."""
        with self._lock, suppress(OSError):  # a disk that is away for a moment ends no run
            self._last = time.monotonic()
            self.check()
            beat = read_beat(self._path)
            if beat is not None:
                alive = replace(beat, state="running", host=socket.gethostname(), pid=os.getpid())
                write_beat(self._path, replace(alive, share=self._share, text=self._text))

    @contextmanager
    def beating(self) -> Iterator[Heart]:
        """Signs of life as long as the block lasts, whatever the training does."""
        over = threading.Event()

        def go_on() -> None:
            while not over.wait(BEAT):
                self.beat()

        thread = threading.Thread(target=go_on, name="beat", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            over.set()
            thread.join()
            self.beat()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0
