"""Files that are written complete or not at all: a reader sees the old content or the new, never a part.

Whatever replaces a file or makes a folder asks here.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from overfit_lab.errors import ConfigError, unknown_name
from overfit_lab.files.disk import disk


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
            error.filename2 = None
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
        shared: several processes may write the file at once, the last one wins. Otherwise the hidden name is always
            the same, so that what a killed process left is overwritten by the next one.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}{'.' + secrets.token_hex(4) if shared else ''}.partial")
    with naming(path, temporary):
        try:
            disk().unlink(temporary)  # what a killed process left may be read-only
            with disk().open(temporary, "xb") as file:
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
        disk().make_folder(temporary)
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
