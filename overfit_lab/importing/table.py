"""The one form in which every format hands over what it read, and what a format is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from overfit_lab.files.limits import LOG_CELLS, LOG_COLUMNS
from overfit_lab.importing.source import LogError, Source

Numbering = Literal["zero", "one", "guess"]


@dataclass
class Table:
    """Rows of a log in the order in which they were written, cells as they stand there.

    Args:
        source: file or folder, for messages.
        name: of the run, where no column says it.
        frame: cells are texts, numbers, or None for none; columns have distinct names.
        lines: of each row in the file; empty where a file has no lines.
        fields: of columns whose meaning the format knows, by column.
        numbering: whether the first epoch is 0 or 1 in this format, or is to be guessed.
        percent: whether accuracies are percentages, where the format says so.
        sizes: samples of a split, where the log says them.
        settings: what the loop said of itself.
        notes: what was done to the rows.
        joins: rows of other files of the same name and format are further columns of this run.
    """

    source: str
    name: str
    frame: pd.DataFrame
    lines: Sequence[int] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    numbering: Numbering = "guess"
    percent: bool | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    joins: bool = False
    parsed: dict[tuple[str, str], np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What :mod:`overfit_lab.importing.values` made of a column, so that each is read once."""

    def place(self, row: int) -> str:
        """Where a row stands: file and line."""
        return f"{self.source}, line {self.lines[row]}" if len(self.lines) else f"{self.source}, row {row + 1}"


@dataclass(frozen=True)
class Format:
    """A kind of log that a file of ``formats`` registers.

    Args:
        recognises: whether a file or folder is of this kind; it never raises.
        read: the tables of a file or folder; its first sentence says what the format is.
        general: asked after all formats that are not.
    """

    recognises: Callable[[Source], bool]
    read: Callable[[Source], list[Table]]
    general: bool = False


def table_of(
    source: Source, rows: Sequence[Mapping[str, Any]], lines: Sequence[int] = (), name: str | None = None, **more: Any
) -> Table:
    """A table of rows that may lack columns, in the order in which columns first come.

    Raises:
        LogError: more rows and columns than a log has.
    """
    frame = frame_of(str(source), rows)
    return Table(str(source), source.name if name is None else name, frame, lines, **more)


def frame_of(source: str, rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows that may lack columns, in the order in which columns first come.

    Raises:
        LogError: more rows and columns than a log has.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if len(columns) > LOG_COLUMNS or len(columns) * len(rows) > LOG_CELLS:
        raise LogError(
            f"{source}: has {len(rows)} rows and {len(columns)} columns; expected {LOG_COLUMNS} columns and "
            f"{LOG_CELLS} cells at most"
        )
    cells = {column: pd.Series([row.get(column) for row in rows], dtype=object) for column in columns}
    return pd.DataFrame(cells, columns=columns)
