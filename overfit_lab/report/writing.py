"""Writing the page: whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from overfit_lab.errors import ConfigError


def check_file(path: Path) -> None:
    """Refuse a file that cannot be written, before any work is done.

    Raises:
        ConfigError: a folder, in no folder, or in one that cannot be written to.
    """
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder, expected a file to write such as report.html")
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
