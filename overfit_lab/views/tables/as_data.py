"""Tables for programs, every digit kept: one line a cell as CSV, everything as JSON; wide ones one line a row."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from overfit_lab.files.escape import as_json as to_json
from overfit_lab.files.escape import for_csv
from overfit_lab.views.tables.table import Cell, Column, Row, Table

FIELDS = ("table", "section", "row", "source", "seeds", "group", "column", "unit", "mean", "std", "n", "footnote")


def as_csv(table: Table) -> str:
    """Tidy CSV: a line a cell, empty where nothing was measured; caption and notes are left out, footnotes kept."""
    if table.wide:
        return _csv([table.stub, *_wide_keys(table)], _wide(table))
    texts = dict(table.footnotes)
    lines = []
    for row in table.rows:
        for cell, column in zip(row.cells, table.columns, strict=True):
            marks = [texts[mark] for mark in (row.mark, cell.mark) if mark]
            head = {"table": table.kind, "section": row.section, "row": row.label, "footnote": "; ".join(marks)}
            lines.append({**head, "source": row.source, "seeds": row.seeds, **_cell(cell, column)})
    return _csv(FIELDS, lines)


def _csv(fields: Sequence[str], lines: Iterable[Mapping[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, fields, lineterminator="\n")
    writer.writerow({key: for_csv(key) for key in fields})
    writer.writerows({key: for_csv(value) for key, value in line.items()} for line in lines)
    return file.getvalue()


def as_json(table: Table) -> str:
    """The whole table: caption, columns, rows with a list of cells, notes and footnotes."""
    content = {
        "table": table.kind,
        "caption": list(table.caption),
        "rows": [_row(row, table) for row in table.rows],
        "notes": list(table.notes),
        "footnotes": dict(table.footnotes),
    }
    shown = list(_wide(table)) if table.wide else content
    return to_json(shown) + "\n"


def _wide_keys(table: Table) -> list[str]:
    """The columns of a wide table under the names for programs, deviations and intervals behind all of them."""
    keys = [column.key for column in table.columns]
    ends = [f"{column.key}_{end}" for column in table.columns if column.interval for end in ("low", "high")]
    return [*keys, *(f"{column.key}_std" for column in table.columns if column.spread), *ends]


def _wide(table: Table) -> Iterator[dict[str, Any]]:
    for row in table.rows:
        pairs = list(zip(row.cells, table.columns, strict=True))
        values = {column.key: cell.text or cell.mean for cell, column in pairs}
        spreads = {f"{column.key}_std": cell.std for cell, column in pairs if column.spread}
        ends = {
            f"{column.key}_{name}": None if cell.interval is None else cell.interval[i]
            for cell, column in pairs
            if column.interval
            for i, name in enumerate(("low", "high"))
        }
        yield {table.stub: row.label, **values, **spreads, **ends}


def _row(row: Row, table: Table) -> dict[str, Any]:
    pairs = zip(row.cells, table.columns, strict=True)
    cells = [{**_cell(cell, column), "mark": cell.mark or None} for cell, column in pairs]
    head = {"row": row.label, "section": row.section, "source": row.source, "seeds": row.seeds}
    return {**head, "mark": row.mark or None, "cells": cells}


def _cell(cell: Cell, column: Column) -> dict[str, Any]:
    heading = {"group": column.group, "column": column.name, "unit": column.unit}
    return {**heading, "mean": cell.mean, "std": cell.std, "n": cell.n or None}
