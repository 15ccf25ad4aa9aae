"""The data of a table, independent of its subject and format: columns, rows of cells, notes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

MEASURED, PUBLISHED = "measured", "published"


@dataclass(frozen=True)
class Cell:
    """One number, words, or nothing.

    Args:
        mean: mean over seeds; None where nothing was measured.
        std: sample standard deviation over seeds; None for fewer than two.
        n: how many seeds entered.
        mark: letter of a footnote, or "".
        digits: decimals to print where they are not those of the column (numbers that were printed elsewhere).
        text: words in place of a number.
        interval: lowest and highest, such as a 95% interval.
    """

    mean: float | None = None
    std: float | None = None
    n: int = 0
    mark: str = ""
    digits: int | None = None
    text: str = ""
    interval: tuple[float, float] | None = None


EMPTY = Cell()


@dataclass(frozen=True)
class Column:
    """A column: the group that it stands under, its own name, its unit and the decimals printed (None: of words).

    Where a table is wide, ``key`` is what programs know the column by, ``spread`` whether it has a deviation and
    ``interval`` whether it has one.
    """

    group: str
    name: str
    unit: str = "%"
    digits: int | None = 1
    key: str = ""
    spread: bool = True
    interval: bool = False


@dataclass(frozen=True)
class Row:
    """A row: label, cells and their source.

    Args:
        label: in the first column.
        cells: one a column.
        section: rows of one section stand together below its heading; "" where there is but one.
        source: :data:`MEASURED` or :data:`PUBLISHED`.
        seeds: how many seeds the row is of; None where that is not known.
        mark: letter of a footnote, or "".
    """

    label: str
    cells: tuple[Cell, ...]
    section: str = ""
    source: str = MEASURED
    seeds: int | None = None
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """A table ready to be written.

    Args:
        kind: its name in the registry.
        caption: sentences above it.
        stub: heading of the first column.
        columns: in order; columns of one group stand together.
        rows: in order; rows of one section stand together.
        notes: sentences below it.
        footnotes: (letter, text) in the order of their first use.
        wide: few rows of many unlike columns, without a caption. A terminal shows a row as a column, CSV and JSON have
            one line a row, and the number of seeds is a column like others.

    Raises:
        ValueError: a row has more or fewer cells than there are columns.
    """

    kind: str
    caption: tuple[str, ...]
    stub: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    footnotes: tuple[tuple[str, str], ...] = ()
    wide: bool = False

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise ValueError(f"row {row.label!r} has {len(row.cells)} cells for {len(self.columns)} columns")

    def groups(self) -> list[tuple[str, int]]:
        """The groups of columns in order, each with how many columns it has."""
        return [(name, len(list(columns))) for name, columns in groupby(self.columns, lambda column: column.group)]

    def sections(self) -> list[tuple[str, list[Row]]]:
        """The sections in order, each with its rows."""
        sections: dict[str, list[Row]] = {}
        for row in self.rows:
            sections.setdefault(row.section, []).append(row)
        return list(sections.items())


class Footnotes:
    """Letters for texts, handed out in the order of use; the same text has the same letter."""

    def __init__(self) -> None:
        self._letters: dict[str, str] = {}

    def mark(self, text: str) -> str:
        """The letter of a text; "" for no text."""
        if not text:
            return ""
        return self._letters.setdefault(text, letters(len(self._letters)))

    def items(self) -> tuple[tuple[str, str], ...]:
        """(letter, text) in order."""
        return tuple((letter, text) for text, letter in self._letters.items())


def letters(index: int) -> str:
    """a, b, ..., z, aa, ab, ... in order.

    Example:
        >>> [letters(i) for i in (0, 25, 26)]
        ['a', 'z', 'aa']
    """
    first, rest = divmod(index, 26)
    return (letters(first - 1) if first else "") + chr(ord("a") + rest)


def cell_of(values: Iterable[float | None]) -> Cell:
    """The cell of one number over seeds: mean and sample standard deviation of those that have it."""
    known = [value for value in values if value is not None]
    n = len(known)
    if not known:
        return EMPTY
    mean = math.fsum(known) / n
    return Cell(mean, math.sqrt(math.fsum((v - mean) ** 2 for v in known) / (n - 1)) if n > 1 else None, n)


def best_final_diff(best: Sequence[float | None], final: Sequence[float | None]) -> tuple[Cell, Cell, Cell]:
    """Cells of a quantity at the best and the final epoch, and of best - final seed by seed."""
    pairs = zip(best, final, strict=True)
    differences = [None if b is None or f is None else b - f for b, f in pairs]
    return cell_of(best), cell_of(final), cell_of(differences)
