"""Charts of W&B, as its pages export them to CSV."""

from __future__ import annotations

import csv
import io
import re

from overfit_lab.importing.formats import delimited
from overfit_lab.importing.source import LogError, Source
from overfit_lab.importing.table import Format, Table, table_of

COLUMN = re.compile(r"(?P<run>.+?) - (?P<metric>.+?)(?P<bound>__MIN|__MAX)?")
AXES = {"step": "step", "_step": "step", "epoch": "epoch", "trainer/global_step": "step", "train/epoch": "epoch"}


def _names(source: Source) -> list[str]:
    return next(csv.reader(io.StringIO(source.first_line)), [])


def recognises(source: Source) -> bool:
    """A table whose columns are "RUN - METRIC" with "__MIN" and "__MAX" after the first."""
    if not source.is_text or source.first_line[:1] in ("{", "["):
        return False
    try:
        names = _names(source)
    except csv.Error:
        return False
    matches = [COLUMN.fullmatch(name) for name in names[1:]]
    return bool(matches) and all(matches) and any(match["bound"] for match in matches if match)


def read(source: Source) -> list[Table]:
    """W&B: the CSV of a chart, with a column "RUN - METRIC" for each run; several charts of the same runs are joined.

    The extent of smoothed points (``__MIN``, ``__MAX``) is passed over. A history (``run.history()``) that was written
    as CSV or JSON lines is read as such, by csv and json.
    """
    (table,) = delimited.read(source)
    names = [str(name) for name in table.frame.columns]
    axis = names[0]
    runs: dict[str, dict[str, str]] = {}
    for name in names[1:]:
        match = COLUMN.fullmatch(name)
        if match is None:
            raise LogError(f"{source}: column {name!r} is no 'RUN - METRIC', as W&B's charts export them")
        if not match["bound"]:
            runs.setdefault(match["run"], {})[name] = match["metric"]
    tables = []
    for run, columns in runs.items():
        rows, lines = [], []
        for i, (line, cells) in enumerate(zip(table.lines, table.frame.to_dict("records"), strict=True)):
            said = {metric: cells[column] for column, metric in columns.items() if str(cells[column]).strip()}
            if said:
                rows.append({AXES.get(axis.lower(), axis): table.frame[axis].iloc[i], **said})
                lines.append(line)
        if rows:
            tables.append(table_of(source, rows, lines, run, joins=True))
    return tables


REGISTER = {"wandb": Format(recognises, read)}
