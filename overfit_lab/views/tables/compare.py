"""Everything about a few runs: best, final and the difference of accuracies, and what probes measured at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from overfit_lab.records import summary
from overfit_lab.records.experiments import unrepeated
from overfit_lab.records.reader import Run
from overfit_lab.records.summary import RAW, TEXTS, TITLES
from overfit_lab.views.tables.options import TableOptions
from overfit_lab.views.tables.table import Cell, Column, Row, Table
from overfit_lab.views.tables.writing import FORMATS

COUNTS = ("n_seeds", "best_epoch")
THOUSANDTHS = ("ece_adv_final", "grad_norm_final")


def compare(runs: Sequence[Run], options: TableOptions) -> Table:
    """One row for runs that differ in the seed alone, in percent and in the units of the probes.

    Raises:
        ConfigError: an option that says nothing here.
        RunFolderError: a run without an evaluation, or without one on the split that chooses.
    """
    options.need_default("compare", "least_drop", "attacks", "published")
    return table_of(summary.compare(runs, options.best_by), unrepeated(runs)[1])


def table_of(frame: pd.DataFrame, notes: tuple[str, ...] = ()) -> Table:
    """The table of what :func:`overfit_lab.records.summary.compare` gives; columns without a value are left out.

    ``notes`` stand below it.
    """
    keys = [key for key in TITLES if key in frame and frame[key].notna().any() and key != "run"]
    if "weights" in keys and (frame["weights"] == RAW).all():
        keys.remove("weights")
    columns = tuple(
        Column("", TITLES[key], "", None, key, spread=False)
        if key in TEXTS
        else Column("", TITLES[key], "", digits_of(key), key, spread=key != "n_seeds")
        for key in keys
    )
    rows = tuple(Row(row["run"], tuple(_cell(row, key) for key in keys)) for _, row in frame.iterrows())
    return Table("compare", (), "run", columns, rows, notes, wide=True)


def digits_of(key: str, value: float = 0.0) -> int:
    """Decimals of a number in a column of :data:`TITLES`."""
    if key in COUNTS or abs(value) >= 1000:
        return 0
    return 3 if key in THOUSANDTHS else 1


def _cell(row: pd.Series, key: str) -> Cell:
    value = row[key]
    if key in TEXTS:
        return Cell(text="completed" if pd.isna(value) else str(value))
    mean = _number(value)
    if mean is None:
        return Cell()
    return Cell(mean, _number(row.get(f"{key}_std")), digits=digits_of(key, mean))


def _number(value: Any) -> float | None:
    """A number of a frame as Python's own, so that every digit of it is written; None where there is none."""
    if value is None or pd.isna(value):
        return None
    return int(value) if pd.api.types.is_integer(value) else float(value)


def format_table(frame: pd.DataFrame, style: str = "table") -> str:
    """Rows that :func:`overfit_lab.records.summary.compare` gives as text, for notebooks.

    Args:
        frame: the rows.
        style: ``table``, ``markdown``, ``latex``, ``csv`` or ``json``.
    """
    return FORMATS[style](table_of(frame))


REGISTER = {"compare": compare}
