"""A file that somebody gave: its bytes, its text and its lines, unpacked where it is gzipped."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import zlib
from functools import cached_property
from pathlib import Path

from overfit_lab.errors import ConfigError
from overfit_lab.files.limits import LOG_BYTES, in_bytes
from overfit_lab.files.reading import cause, open_file, read_bytes

GZIP = b"\x1f\x8b"
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
"""What a text file may begin with, and the encoding that this says."""
STEMS = ("metrics", "output", "log")
"""Names of files that say nothing of the run; the folder's name is taken."""


class LogError(ConfigError):
    """A log cannot be read; the message names file and, where there is one, line."""


class NothingError(LogError):
    """A log has none of the numbers of a training run."""


class Source:
    """A file or folder to read a log from.

    Args:
        path: file or folder.

    Raises:
        LogError: there is nothing, or it is empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            raise LogError(f"{self}: no such file or folder")
        if path.is_file() and path.stat().st_size == 0:
            raise LogError(f"{self}: is empty, expected a training log")

    def __str__(self) -> str:
        """The path, what is no text in it replaced."""
        return str(self.path).encode("utf-8", "replace").decode()

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.path.is_dir()

    @property
    def name(self) -> str:
        """What a run of this file is called: the file's name without endings, or the folder's where that says nothing.

        Example:
            >>> Source(Path(__file__)).name
            'source'
        """
        path = Path(os.path.abspath(str(self)))
        stem = path.name.removesuffix(".gz")
        stem = stem.rpartition(".")[0] or stem
        if self.is_folder:
            return path.name
        if stem.lower() not in STEMS:
            return stem
        parent = path.parent.name or stem
        return f"{path.parent.parent.name}/{parent}" if parent.startswith("version_") else parent

    def begins_with(self, mark: bytes) -> bool:
        """Whether it is a file that begins with some bytes."""
        try:
            with open_file(self.path) as file:
                return bool(file.read(len(mark)) == mark)
        except OSError:
            return False

    @cached_property
    def content(self) -> bytes:
        """The bytes, unpacked.

        Raises:
            LogError: it cannot be read, or the archive is damaged.
        """
        try:
            raw = read_bytes(self.path, LOG_BYTES)
            if raw.startswith(GZIP):
                with gzip.open(io.BytesIO(raw)) as file:
                    raw = file.read(LOG_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise LogError(f"{self}: cannot be read ({cause(error)})") from error
        if len(raw) > LOG_BYTES:
            raise LogError(f"{self}: unpacks to more than {in_bytes(LOG_BYTES)}")
        return raw

    @cached_property
    def text(self) -> str:
        """The text, lines ending in one line feed.

        Raises:
            LogError: it is not text in UTF-8 or, with a byte order mark, UTF-16.
        """
        content = self.content
        encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), "utf-8")
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            raise LogError(f"{self}, line {line}: is not {encoding.upper()} text; save it as UTF-8") from error
        if "\0" in text:
            line = text[: text.index("\0")].count("\n") + 1
            raise LogError(f"{self}, line {line}: holds zero bytes, expected text")
        if not text.strip():
            raise LogError(f"{self}: is empty, expected a training log")
        return text.replace("\r\n", "\n")

    @cached_property
    def lines(self) -> list[str]:
        """The lines as a terminal would show them: what a carriage return overwrites is left out."""
        return [line.rstrip("\r").rpartition("\r")[2] for line in self.text.split("\n")]

    @property
    def is_text(self) -> bool:
        """Whether it can be read as text."""
        try:
            return not self.is_folder and bool(self.text)
        except LogError:
            return False

    @property
    def first_line(self) -> str:
        """The first line that is not blank."""
        return next((line for line in self.lines if line.strip()), "")
