"""Tables as text: commas, tabs, semicolons or blanks between cells, names in the first line."""

from __future__ import annotations

import csv
import io
import re

from overfit_lab.importing.columns import doubled
from overfit_lab.importing.longform import long_form
from overfit_lab.importing.source import LogError, Source
from overfit_lab.importing.table import Format, Table, table_of
from overfit_lab.importing.values import number

DELIMITERS = (",", "\t", ";", "|")


def recognises(source: Source) -> bool:
    """Text whose first line is names with a delimiter between them."""
    if not source.is_text or source.first_line.lstrip()[:1] in ("{", "["):
        return False
    suffixes = source.path.suffixes
    named = bool({".csv", ".tsv"} & {suffix.lower() for suffix in suffixes})
    marked = _delimiter(source.first_line) != "" and any(map(_is_name, _cells(source.first_line)))
    return named or marked or _has_blanks(source)


def _has_blanks(source: Source) -> bool:
    """Whether blanks part the cells: two lines of as many words, names and then numbers."""
    lines = [line.split() for line in source.lines if line.strip()][:2]
    if _delimiter(source.first_line) or len(lines) < 2 or not 1 < len(lines[0]) == len(lines[1]):
        return False
    return all(map(_is_name, lines[0])) and not any(map(_is_name, lines[1]))


def _delimiter(line: str) -> str:
    """The delimiter that parts a line most often; "" for none."""
    counts = {mark: line.count(mark) for mark in DELIMITERS}
    best = max(counts, key=lambda mark: counts[mark])
    return best if counts[best] else ""


def _cells(line: str) -> list[str]:
    return line.split(_delimiter(line) or ",")


def _is_name(cell: str) -> bool:
    try:
        number(cell)
    except ValueError:
        return bool(re.search(r"[A-Za-z]", cell))
    return False


def read(source: Source) -> list[Table]:
    """A table as text, with commas, tabs, semicolons or blanks between its cells: the one table of the file.

    A line like the first one is passed over, as a loop that was begun again writes it; so is a last line that was cut
    off. Cells past the last name, and rows that lack cells, are errors.
    """
    text = source.text.replace("\r", "\n")
    if _has_blanks(source):
        text = re.sub(r"[^\S\n]+", "\t", re.sub(r"(?m)^[^\S\n]+|[^\S\n]+$", "", text))
    delimiter = _delimiter(text.lstrip().partition("\n")[0]) or ","
    rows: list[dict[str, str]] = []
    lines: list[int] = []
    notes: list[str] = []
    names: list[str] = []
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    before = 0
    try:
        for cells in reader:
            line, before = before + 1, reader.line_num
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            if not names:
                names = _names(source, cells, line)
            elif cells == names:
                notes.append(f"line {line} has the columns' names again, it is passed over")
            elif len(cells) != len(names) and any(cells[len(names) :] or [True]):
                lines.append(line)
                rows.append({"": str(len(cells))})
            else:
                lines.append(line)
                rows.append(dict(zip(names, cells, strict=False)))
    except csv.Error as error:
        raise LogError(f"{source}, line {reader.line_num}: is no row of a table ({error})") from error
    if rows and "" in rows[-1] and int(rows[-1][""]) < len(names) and not source.text.endswith("\n"):
        notes.append(f"line {lines[-1]} is cut off, it is passed over")
        rows, lines = rows[:-1], lines[:-1]
    for row, line in zip(rows, lines, strict=True):
        if "" in row:
            raise LogError(f"{source}, line {line}: has {row['']} cells, the first line has {len(names)} names")
    if not rows:
        raise LogError(f"{source}: has names of columns and no rows")
    return long_form(table_of(source, rows, lines, notes=notes))


def _names(source: Source, cells: list[str], line: int) -> list[str]:
    """The columns' names; a column without one, as of row numbers, is called by its place.

    Raises:
        LogError: two are alike, or the line is one of numbers.
    """
    while cells and not cells[-1]:
        cells = cells[:-1]
    if not any(map(_is_name, cells)):
        raise LogError(f"{source}, line {line}: expected names of columns, got {', '.join(cells)[:60]!r}")
    names = [cell or f"column {i + 1}" for i, cell in enumerate(cells)]
    if len(set(names)) < len(names):
        twice = doubled(names)
        raise LogError(f"{source}, line {line}: column {twice!r} comes twice")
    return names


REGISTER = {"csv": Format(recognises, read, general=True)}
