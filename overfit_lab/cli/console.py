"""What commands print: tables, and text that may go to a file instead."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import typer
from rich.console import Console, RenderableType
from rich.table import Table

from overfit_lab.files.writing import check_file, format_of, write_text

T = TypeVar("T")
WIDTH = 160
"""Columns where there is no terminal."""


def new_table(*columns: str, right: Collection[str] = (), **options: Any) -> Table:
    """A table without lines; ``options`` are those of every column."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", **options)
    return table


def show(content: RenderableType, width: int = WIDTH) -> None:
    """Print as wide as the terminal, or ``width`` columns where there is none."""
    console = Console()
    if not console.is_terminal:
        console.width = width
    console.print(content)


def as_text(content: RenderableType) -> str:
    """What rich draws, with colours on a terminal only, without trailing spaces."""
    terminal = Console()
    file = io.StringIO()
    width = terminal.width if terminal.is_terminal else WIDTH
    Console(file=file, force_terminal=terminal.is_terminal, width=width).print(content)
    return "\n".join(line.rstrip() for line in file.getvalue().rstrip().split("\n"))


def writer_for(
    style: str | None, out: Path | None, formats: Mapping[str, Callable[[T], str]], suffixes: Mapping[str, str]
) -> Callable[[T], str]:
    """The format that ``--format`` or the suffix of ``--out`` asks for.

    Raises:
        ConfigError: there is no such format, or the file cannot be written.
    """
    to_text = formats[format_of(style, out, formats, suffixes)]
    if out is not None:
        check_file(out)
    return to_text


def write_or_print(text: str, out: Path | None) -> None:
    """Write a text to ``--out`` and print the path, or print the text."""
    if out is None:
        typer.echo(text.rstrip("\n"))
    else:
        write_text(text, out)
        typer.echo(str(out))
