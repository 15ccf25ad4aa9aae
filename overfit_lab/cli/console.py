"""What commands print: tables, and text that may go to a file instead."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from overfit_lab.files.escape import for_terminal, for_terminal_lines
from overfit_lab.files.terminal import say, say_lines
from overfit_lab.files.writing import check_file, format_of, write_text

T = TypeVar("T")
WIDTH = 160
"""Columns where there is no terminal."""


class LiteralConsole(Console):
    """Draws with rich; text is shown as it is, without markup, emoji or control characters."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Text that markup is not read from."""
        literal = {"markup": False, "emoji": False, "highlight": False, "highlighter": None}
        return super().render_str(for_terminal_lines(text), **{**options, **literal})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """What is drawn; the control codes in it are rich's own."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else for_terminal_lines(text), style, control)


class LiteralTable(Table):
    """A table whose words stand each in a line."""

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        """Add a row; see :meth:`rich.table.Table.add_row`."""
        super().add_row(*(for_terminal(cell) if isinstance(cell, str) else cell for cell in cells), **options)


def new_table(*columns: str, right: Collection[str] = (), **options: Any) -> Table:
    """A table without lines; ``options`` are those of every column."""
    table = LiteralTable(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", **options)
    return table


def show(content: RenderableType, width: int = WIDTH) -> None:
    """Print as wide as the terminal, or ``width`` columns where there is none."""
    console = LiteralConsole()
    if not console.is_terminal:
        console.width = width
    console.print(content)


def as_text(content: RenderableType) -> str:
    """What rich draws, with colours on a terminal only, without trailing spaces."""
    terminal = LiteralConsole()
    file = io.StringIO()
    width = terminal.width if terminal.is_terminal else WIDTH
    LiteralConsole(file=file, force_terminal=terminal.is_terminal, width=width).print(content)
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
        say_lines(text.rstrip("\n"))
    else:
        write_text(text, out)
        say(str(out))
