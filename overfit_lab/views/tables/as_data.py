"""Tables for programs: one line a cell as CSV, everything as JSON. Every digit is kept."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from overfit_lab.views.tables.table import Cell, Column, Row, Table

FIELDS = ("table", "section", "row", "source", "seeds", "group", "column", "unit", "mean", "std", "n", "footnote")


def as_csv(table: Table) -> str:
    """Tidy CSV: a line a cell, empty where nothing was measured; caption and notes are left out, footnotes kept."""
    file = io.StringIO()
    writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
    writer.writeheader()
    texts = dict(table.footnotes)
    for row in table.rows:
        for cell, column in zip(row.cells, table.columns, strict=True):
            marks = [texts[mark] for mark in (row.mark, cell.mark) if mark]
            head = {"table": table.kind, "section": row.section, "row": row.label, "footnote": "; ".join(marks)}
            writer.writerow({**head, "source": row.source, "seeds": row.seeds, **_cell(cell, column)})
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
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _row(row: Row, table: Table) -> dict[str, Any]:
    cells = [
        {**_cell(cell, column), "mark": cell.mark or None}
        for cell, column in zip(row.cells, table.columns, strict=True)
    ]
    head = {"row": row.label, "section": row.section, "source": row.source, "seeds": row.seeds}
    return {**head, "mark": row.mark or None, "cells": cells}


def _cell(cell: Cell, column: Column) -> dict[str, Any]:
    where = {"group": column.group, "column": column.name, "unit": column.unit}
    return {**where, "mean": cell.mean, "std": cell.std, "n": cell.n or None}
