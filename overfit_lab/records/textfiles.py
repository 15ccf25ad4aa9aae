"""Results as text files: in which format, and written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from overfit_lab.errors import ConfigError, unknown_name


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


def write(text: str, path: Path) -> None:
    """Replace a file, so that a reader sees the old content or the new, never a part.

    Raises:
        ConfigError: it cannot be written.
    """
    check_file(path)
    temporary = path.with_name(f".{path.name}.partial")
    try:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from error
