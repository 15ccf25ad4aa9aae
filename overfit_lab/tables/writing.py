"""A table as text in any format. Knows nothing of runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from overfit_lab.errors import ConfigError, unknown_name
from overfit_lab.tables.as_data import as_csv, as_json
from overfit_lab.tables.as_latex import as_latex
from overfit_lab.tables.as_text import as_markdown, as_plain
from overfit_lab.tables.table import Table

FORMATS: Mapping[str, Callable[[Table], str]] = {
    "table": as_plain,
    "markdown": as_markdown,
    "latex": as_latex,
    "csv": as_csv,
    "json": as_json,
}
SUFFIXES = {".txt": "table", ".md": "markdown", ".tex": "latex", ".csv": "csv", ".json": "json"}


def format_of(name: str | None, out: Path | None) -> str:
    """The format asked for, else that of a file's suffix, else plain text.

    Raises:
        UnknownNameError: no such format.
        ConfigError: no format was asked for, and the suffix stands for none.
    """
    if name is not None:
        if name not in FORMATS:
            raise unknown_name("format", name, FORMATS)
        return name
    if out is None:
        return "table"
    if out.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{out}: suffix {out.suffix!r} stands for no format; use {', '.join(SUFFIXES)} or --format")
    return SUFFIXES[out.suffix.lower()]


def check_file(path: Path) -> None:
    """Refuse a file that cannot be written, before any work is done.

    Raises:
        ConfigError: a folder, or in no folder.
    """
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder, expected a file to write")
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: folder {path.parent} does not exist; make it first")


def write(text: str, path: Path) -> None:
    """Write a file, whole or not at all.

    Raises:
        ConfigError: it cannot be written.
    """
    check_file(path)
    temporary = path.with_name(f".{path.name}.partial")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from error
