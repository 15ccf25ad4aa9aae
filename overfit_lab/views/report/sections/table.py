"""Best, final and the difference, method by method and run by run; the headings sort."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from overfit_lab.errors import OverfitLabError
from overfit_lab.records.reader import Run
from overfit_lab.records.summary import RAW, TEXTS, TITLES, second_weights, summarise_run
from overfit_lab.views.report.material import Material
from overfit_lab.views.report.rendering import render
from overfit_lab.views.report.section import Part, Section
from overfit_lab.views.tables.as_text import MISSING, cell_text
from overfit_lab.views.tables.compare import digits_of
from overfit_lab.views.tables.methods import methods
from overfit_lab.views.tables.options import TableOptions
from overfit_lab.views.tables.readings import epochs_of
from overfit_lab.views.tables.table import Cell, Column, Table, letters

COLUMNS = [column for column in TITLES if column not in ("labels", "noise", "n_seeds", "chosen_on")]


@dataclass(frozen=True)
class SortCell:
    """A cell: its text, and the number or text that it is sorted by; None where there is nothing, which sorts last."""

    text: str
    key: float | str | None
    mark: str = ""

    @property
    def is_number(self) -> bool:
        """Whether it is sorted by a number."""
        return isinstance(self.key, float)


NOTHING = SortCell(MISSING, None)


def build(material: Material) -> Part:
    """The table of methods over seeds, and one of the runs one by one; runs without an evaluation are named below."""
    runs, left_out = evaluated(material.runs)
    if not runs:
        return Part(render("table.html", table=None, left_out=left_out, runs=None))
    table = methods(runs, TableOptions())
    return Part(
        render(
            "table.html",
            table=table,
            method_rows=method_rows(table),
            settings=[(letter, section) for section, letter in settings_of(table).items()],
            left_out=left_out,
            runs=run_rows(runs),
        )
    )


def evaluated(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """The runs that hold an evaluation, and one line about each of the others."""
    measured, left_out = [], []
    for run in runs:
        try:
            epochs_of(run)
        except OverfitLabError as error:
            left_out.append(str(error))
        else:
            measured.append(run)
    return measured, left_out


def method_rows(table: Table) -> list[tuple[SortCell, list[SortCell]]]:
    """The rows of a table: their first cell and the others, with the setting's letter where it has several."""
    letters = settings_of(table)
    return [
        (
            SortCell(row.label, row.label.lower(), row.mark),
            [
                *([SortCell(letters[row.section], letters[row.section])] if letters else []),
                *(_number_cell(cell, column) for cell, column in zip(row.cells, table.columns, strict=True)),
            ],
        )
        for row in table.rows
    ]


def settings_of(table: Table) -> dict[str, str]:
    """A letter for each setting in the order of the rows; none where all rows have the same."""
    sections = dict.fromkeys(row.section for row in table.rows)
    return {section: letters(i).upper() for i, section in enumerate(sections)} if len(sections) > 1 else {}


def _number_cell(cell: Cell, column: Column) -> SortCell:
    if cell.mean is None or not math.isfinite(cell.mean):
        return NOTHING
    return SortCell(cell_text(cell, column), float(cell.mean), cell.mark)


def run_rows(runs: Sequence[Run]) -> tuple[list[str], list[list[SortCell]]]:
    """Headings and rows, one a run and set of weights, of what was measured while training."""
    rows = []
    for run in runs:
        for weights in (RAW, *second_weights(run)):
            try:
                rows.append(summarise_run(run, weights))
            except OverfitLabError:  # imported weights have no best epoch
                continue
    columns = [c for c in COLUMNS if any(_present(row[c]) for row in rows)]
    if all(row["weights"] == RAW for row in rows) and "weights" in columns:
        columns.remove("weights")
    return [TITLES[column] for column in columns], [[_run_cell(row, c) for c in columns] for row in rows]


def _present(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _run_cell(row: dict[str, Any], column: str) -> SortCell:
    value = row[column]
    if not _present(value):
        return NOTHING
    if column in TEXTS:
        return SortCell(str(value), str(value).lower())
    return SortCell(f"{value:,.{digits_of(column, value)}f}", float(value))


REGISTER = {"table": Section("Best, final, diff", 30, build)}
