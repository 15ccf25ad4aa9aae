"""Files that are written complete or not at all: a reader sees the old content or the new, never a part.

Whatever replaces a file or makes a folder asks here.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import stat
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from overfit_lab.errors import ConfigError, unknown_name
from overfit_lab.files.disk import disk

JUST_BEGUN = 1.0
"""Seconds in which a process may have made a file and not held it yet."""


def format_of(name: str | None, out: Path | None, formats: Collection[str], suffixes: Mapping[str, str]) -> str:
    """The format asked for, else that of a file's suffix, else the first.

    Args:
        name: the format asked for.
        out: the file that is written; None where the text is printed.
        formats: those that there are.
        suffixes: what suffixes stand for.

    Raises:
        UnknownNameError: no such format.
        ConfigError: no format was asked for, and the suffix stands for none.
    """
    if name is not None:
        if name not in formats:
            raise unknown_name("format", name, formats)
        return name
    if out is None:
        return next(iter(formats))
    if out.suffix.lower() not in suffixes:
        raise ConfigError(f"{out}: suffix {out.suffix!r} stands for no format; use {', '.join(suffixes)} or --format")
    return suffixes[out.suffix.lower()]


def check_file(path: Path) -> None:
    """Refuse a file that cannot be written, before any work is done.

    Raises:
        ConfigError: a folder, in no folder, or in one that cannot be written to.
    """
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder, expected a file to write")
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: folder {path.parent} does not exist; make it first")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from error


def write_text(text: str, path: Path) -> None:
    """Replace a file that the user named with a text.

    Raises:
        ConfigError: it cannot be written.
    """
    with output(path) as file:
        file.write(text.encode("utf-8", errors="backslashreplace"))


@contextmanager
def naming(path: Path, hidden: Path | None = None) -> Iterator[None]:
    """An error of the operating system inside says which file it was about.

    Args:
        path: the file.
        hidden: the name under which it is written.
    """
    try:
        yield
    except OSError as error:
        if error.filename in (None, str(hidden)):
            error.filename = str(path)
        raise


@contextmanager
def output(path: Path) -> Iterator[BinaryIO]:
    """As :func:`replacing`, for a file that the user named: what stands in the way is said in one line.

    Raises:
        ConfigError: it cannot be written.
    """
    check_file(path)
    try:
        with replacing(path, shared=True) as file:
            yield file
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror or error})") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file, and return when it is on the disk; see :func:`replacing`.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path, durable=True) as file:
        file.write(content)


def write_json(path: Path, content: object, indent: int = 2) -> None:
    """Replace a file by JSON, as :func:`write_bytes` does."""
    write_bytes(path, (json.dumps(content, indent=indent, ensure_ascii=False) + "\n").encode())


@contextmanager
def replacing(path: Path, *, durable: bool = False, shared: bool = False) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of ``path`` when the block ends and is gone if it raises.

    It is written beside ``path`` under a hidden name. A file that is replaced keeps its permissions.

    Args:
        path: the file to make or replace, in a folder that is there.
        durable: return only when the content and the name are on the disk, so that they outlast a power cut.
        shared: several processes may write the file at once, the last one wins. Each has a hidden name of its own, and
            removes those that processes left which are gone. Otherwise the hidden name is always the same, so that
            what a killed process left is overwritten by the next one.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}{'.' + secrets.token_hex(4) if shared else ''}.partial")
    with naming(path, temporary):
        try:
            if shared:
                remove_abandoned(path.parent, path.name)
            disk().unlink(temporary)  # what a killed process left may be read-only
            with disk().open(temporary, "xb") as file:
                if shared:
                    _hold(file.fileno())
                with suppress(FileNotFoundError):
                    os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
                yield file
                if durable:
                    disk().sync(file)
            disk().replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                disk().unlink(temporary)
            raise
    if durable:
        sync_folder(path.parent)


def remove_abandoned(folder: Path, name: str | None = None) -> None:
    """Remove what processes that are gone left of files that several write: nobody holds it any more.

    Args:
        folder: where to look.
        name: of the file; None: any.
    """
    hidden = re.compile(rf"\.{'.+' if name is None else re.escape(name)}\.[0-9a-f]{{8}}\.partial")
    with suppress(OSError):
        for left in [entry.path for entry in os.scandir(folder) if hidden.fullmatch(entry.name)]:
            with open(left, "rb") as file:
                if time.time() - os.fstat(file.fileno()).st_mtime > JUST_BEGUN and _hold(file.fileno()):
                    disk().unlink(Path(left))


def _hold(handle: int) -> bool:
    """Hold an open file until it is closed, and say whether nobody else did; where locks cannot be had, no."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are not there, so that their names outlast a power cut.

    Raises:
        OSError: one cannot be made.
    """
    missing = [path for path in (folder, *folder.parents) if not path.is_dir()]
    if missing:
        disk().make_folder(folder)
        for path in missing:
            sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have a folder's names on the disk, where its file system can do that."""
    with suppress(OSError):
        disk().sync_folder(folder)


@contextmanager
def making_folder(folder: Path, *, instead: bool = False) -> Iterator[Path]:
    """A folder to fill, which appears as ``folder`` when the block ends and is gone if it raises.

    Args:
        folder: to make.
        instead: of what ``folder`` holds now, which goes when the new one is complete.

    Raises:
        OSError: it cannot be made, or ``folder`` holds something.
    """
    temporary, before = (folder.with_name(f".{folder.name}.{suffix}") for suffix in ("partial", "before"))
    try:
        disk().remove_folder(temporary)  # what a killed process left
        make_folder(temporary)
        yield temporary
        sync_folder(temporary)
        if instead and folder.is_dir():
            disk().remove_folder(before)
            disk().replace(folder, before)
        disk().replace(temporary, folder)
    except BaseException:
        disk().remove_folder(temporary)
        if instead and before.is_dir() and not folder.exists():
            disk().replace(before, folder)
        raise
    sync_folder(folder.parent)
    if instead:
        disk().remove_folder(before)
