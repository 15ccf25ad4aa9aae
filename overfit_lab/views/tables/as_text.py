"""Tables for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from overfit_lab.files.escape import for_markdown, for_terminal, markdown_sentence
from overfit_lab.views.tables.table import Cell, Column, Row, Table

MISSING = "–"
GAP = "  "


def number(value: float, digits: int) -> str:
    """A number with so many decimals, without a minus before zero."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def cell_text(cell: Cell, column: Column) -> str:
    """``50.5 ± 0.7``, ``50.5 (49.1 to 51.9)``, words, or an en dash for nothing; without the footnote's letter."""
    if cell.text or cell.mean is None:
        return cell.text or MISSING
    digits = (column.digits or 0) if cell.digits is None else cell.digits
    spread = "" if cell.std is None else f" ± {number(cell.std, digits)}"
    ends = "" if cell.interval is None else f" ({' to '.join(number(end, digits) for end in cell.interval)})"
    return number(cell.mean, digits) + spread + ends


def seeds_text(row: Row) -> str:
    """The number of seeds; an en dash where it is not known."""
    return MISSING if row.seeds is None else str(row.seeds)


def headings(table: Table) -> list[str]:
    """What stands above the columns, without groups."""
    return [table.stub, *([] if table.wide else ["seeds"]), *(column.name for column in table.columns)]


def as_plain(table: Table) -> str:
    """Plain text: groups above their columns, sections below their headings, notes at the end."""
    if table.wide:
        turned = _turned([list(map(for_terminal, headings(table))), *(_plain_cells(row, table) for row in table.rows)])
        return "\n".join([turned, *(f"{for_terminal(note)}\n" for note in table.notes)])
    body = [(section, [_plain_cells(row, table) for row in rows]) for section, rows in table.sections()]
    head = list(map(for_terminal, headings(table)))
    widths = _widths([head, *(cells for _, rows in body for cells in rows)])
    _widen(widths, table)
    lines = [*map(for_terminal, table.caption), "", _groups_line(widths, table), _line(head, widths)]
    rule = GAP.join("-" * width for width in widths)
    lines.append(rule)
    for section, rows in body:
        lines += [f"[{for_terminal(section)}]"] if section and len(body) > 1 else []
        lines += [_line(cells, widths) for cells in rows]
    notes = [*(f"[{letter}] {text}" for letter, text in table.footnotes), *table.notes]
    return "\n".join([*lines, *([""] if notes else []), *map(for_terminal, notes)]) + "\n"


def _turned(rows: Sequence[Sequence[str]]) -> str:
    """A line a column, so that few rows of many columns fit a terminal."""
    lines = list(zip(*rows, strict=True))
    widths = _widths(lines)
    head, *others = (_line(line, widths) for line in lines)
    return "\n".join([head, GAP.join("-" * width for width in widths), *others]) + "\n"


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def row_texts(row: Row, table: Table, escape: Callable[[str], str], raised: Callable[[str], str]) -> list[str]:
    """The texts of a row from its label on, with marks for the letters of its footnotes."""
    pairs = zip(row.cells, table.columns, strict=True)
    cells = [escape(cell_text(cell, column)) + raised(cell.mark) for cell, column in pairs]
    seeds = [] if table.wide else [escape(seeds_text(row))]
    return [escape(row.label) + raised(row.mark), *seeds, *cells]


def _plain_cells(row: Row, table: Table) -> list[str]:
    return row_texts(row, table, for_terminal, _bracket)


def _bracket(mark: str) -> str:
    return f" [{mark}]" if mark else ""


def _widen(widths: list[int], table: Table) -> None:
    """Give a group's last column what its heading needs beyond the columns below it."""
    first = 2
    for name, span in _groups(table):
        have = sum(widths[first : first + span]) + len(GAP) * (span - 1)
        widths[first + span - 1] += max(0, len(name) - have)
        first += span


def _groups(table: Table) -> list[tuple[str, int]]:
    return [(for_terminal(name), span) for name, span in table.groups()]


def _groups_line(widths: Sequence[int], table: Table) -> str:
    parts = [" " * widths[0], " " * widths[1]]
    first = 2
    for name, span in _groups(table):
        have = sum(widths[first : first + span]) + len(GAP) * (span - 1)
        parts.append(f" {name} ".center(have, "-") if name and len(name) + 4 <= have else name.center(have))
        first += span
    return GAP.join(parts).rstrip()


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]
    return GAP.join(padded).rstrip()


def as_markdown(table: Table) -> str:
    """Markdown: one header line, since it knows no groups; headings of sections in bold in rows of their own."""
    names = [f"{column.group} {column.name}".strip() for column in table.columns]
    lines = pipes(
        [for_markdown(text) for text in [table.stub, *([] if table.wide else ["seeds"]), *names]],
        [False, *([] if table.wide else [True]), *(column.digits is not None for column in table.columns)],
    )
    sections = table.sections()
    for section, rows in sections:
        if section and len(sections) > 1:
            lines.append(pipe([f"**{for_markdown(section)}**", *[""] * (len(table.columns) + 1)]))
        lines += [pipe(row_texts(row, table, for_markdown, _raised)) for row in rows]
    notes = [f"- <sup>{letter}</sup> {markdown_sentence(text)}" for letter, text in table.footnotes]
    notes += [f"- {markdown_sentence(text)}" for text in table.notes]
    caption = [markdown_sentence(" ".join(table.caption)), ""] if table.caption else []
    return "\n".join([*caption, *lines, *([""] if notes else []), *notes]) + "\n"


def _raised(mark: str) -> str:
    return f"<sup>{mark}</sup>" if mark else ""


def pipes(head: Sequence[str], are_numbers: Sequence[bool]) -> list[str]:
    """The first two lines of a table in Markdown: headings, and columns of numbers set to the right."""
    return [pipe(head), pipe(["---:" if is_number else "---" for is_number in are_numbers])]


def pipe(cells: Sequence[str]) -> str:
    """A line of a table in Markdown."""
    return f"| {' | '.join(cells)} |"
