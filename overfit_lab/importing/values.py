"""Cells to numbers, percentages to fractions."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from overfit_lab.importing.source import LogError
from overfit_lab.importing.table import Table

HOLES = ("", "-", "--", "null", "none", "na", "n/a")
"""Texts that say that there is no number."""
COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?%?")
"""A number with a decimal comma."""
ROUNDING = 1e-6
"""A share may be so much above 1, or 100."""


def number(cell: Any) -> float | None:
    """The number of a cell, None for an empty one; NaN and infinities stay.

    Raises:
        ValueError: it is no number.
    """
    if cell is None:
        return None
    if isinstance(cell, bool):
        raise ValueError(cell)
    if isinstance(cell, str):
        text = cell.strip().strip("\"'").strip()
        if text.lower() in HOLES:
            return None
        if COMMA.fullmatch(text):
            text = text.replace(",", ".")
        if "_" in text:
            raise ValueError(text)  # which Python would take for digits
        return float(text.removesuffix("%"))
    return float(cell)


def numbers(table: Table, column: str) -> np.ndarray:
    """The numbers of a column (rows,), NaN where a cell is empty or not finite.

    Raises:
        LogError: a cell is no number; file, line and column are named.
    """
    if (known := table.parsed.get(("numbers", column))) is not None:
        return known
    values = np.full(len(table.frame), np.nan)
    for i, cell in enumerate(table.frame[column]):
        try:
            value = number(cell)
        except (ValueError, TypeError, OverflowError) as error:
            shown = str(cell).strip()[:40]
            raise LogError(f"{table.place(i)}: {column!r} is {shown!r}, expected a number") from error
        if value is not None:
            values[i] = value
    table.parsed["numbers", column] = values
    return values


def is_written(table: Table, column: str) -> np.ndarray:
    """Where a column has a cell that says something, be it NaN (rows,)."""
    key = ("written", column)
    if key not in table.parsed:
        table.parsed[key] = np.array([not _is_hole(cell) for cell in table.frame[column]], dtype=bool)
    return table.parsed[key]


def _is_hole(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and cell.strip().strip("\"'").strip().lower() in HOLES)


def says_percent(table: Table, column: str) -> bool:
    """Whether a column's name or cells have a percent sign."""
    sign = any(isinstance(cell, str) and cell.strip().endswith("%") for cell in table.frame[column])
    return sign or "%" in column or bool(re.search(r"(?i)percent|(?:^|[^a-z])pct", column))


def are_percent(tables: Sequence[Table], columns: Sequence[str], percent: bool | None) -> tuple[bool, str]:
    """Whether accuracies of some tables are percentages, and how that is known.

    Args:
        tables: of one log.
        columns: with shares in them.
        percent: what the user says; None to guess by the range over all rows.

    Raises:
        LogError: a share below 0, or above what its unit allows, with file and line; or it cannot be told.
    """
    used = [(table, column) for column in columns for table in tables if column in table.frame]
    known = {table.percent for table in tables} - {None}
    how = "as said" if percent is not None else "as the format has it" if len(known) == 1 else "by their range"
    if percent is None and len(known) == 1:
        percent = known.pop()
    tops: dict[str, float] = {}
    for table, column in used:
        values = numbers(table, column)
        finite = values[np.isfinite(values)]
        if len(finite):
            tops[column] = max(tops.get(column, -math.inf), float(finite.max()))
    if percent is None:
        signed = any(says_percent(table, column) for table, column in used)
        small = sorted(column for column, top in tops.items() if top <= 1 + ROUNDING)
        large = sorted(column for column, top in tops.items() if top > 1 + ROUNDING)
        if small and large and not signed:
            raise LogError(
                f"{used[0][0].source}: {large[0]!r} goes to {tops[large[0]]:g} and looks like a percentage, "
                f"{small[0]!r} to {tops[small[0]]:g} and like a fraction; give --percent or --fraction, "
                f"or leave one out by --skip"
            )
        percent = signed or bool(large)
    limit = 100.0 if percent else 1.0
    for table, column in used:
        values = numbers(table, column)
        wrong = np.flatnonzero((values < -ROUNDING) | (values > limit * (1 + ROUNDING)))
        if len(wrong):
            unit = "0 to 100 percent" if percent else "a fraction from 0 to 1"
            raise LogError(f"{table.place(int(wrong[0]))}: {column!r} is {values[wrong[0]]:g}, expected {unit}")
    return percent, how
