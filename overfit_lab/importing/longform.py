"""Tables with one number a row, its name in a column: made tables with a column for each name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from overfit_lab.importing.table import Table, frame_of

NAMES = ("key", "metric", "metric_key", "metric_name", "tag", "name")
VALUE = ("value",)
AXIS = ("step", "epoch")
RUNS = ("run_name", "run", "run_id", "run_uuid", "Run", "Run ID")


def long_form(table: Table) -> list[Table]:
    """The table itself, or where each row has the name of a number, the number and its step, one with a row a step.

    Exports of MLflow's and TensorBoard's servers are such tables.
    """
    columns = list(table.frame.columns)
    lower = {str(column).lower(): column for column in columns}
    name = next((lower[key] for key in NAMES if key in lower), None)
    value = next((lower[key] for key in VALUE if key in lower), None)
    axis = next((lower[key] for key in AXIS if key in lower), None)
    if name is None or value is None or axis is None:
        return [table]
    run = next((column for column in columns if column in RUNS and column != name), None)
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    for i in range(len(table.frame)):
        cells = table.frame.iloc[i]
        row: dict[str, Any] = {axis: cells[axis], str(cells[name]): cells[value]}
        if run is not None:
            row["run"] = cells[run]
        rows.append(row)
        if len(table.lines):
            lines.append(table.lines[i])
    return [replace(table, frame=frame_of(table.source, rows), lines=lines)]
