"""metrics.csv of Lightning's CSVLogger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from overfit_lab.importing.formats import delimited
from overfit_lab.importing.source import LogError, Source
from overfit_lab.importing.table import Format, Table
from overfit_lab.importing.values import is_written, number


def recognises(source: Source) -> bool:
    """A file called metrics.csv with the columns epoch and step."""
    if not source.path.name.lower().startswith("metrics.csv") or not source.is_text:
        return False
    return {"epoch", "step"} <= {name.strip() for name in source.first_line.split(",")}


def read(source: Source) -> list[Table]:
    """Lightning's CSVLogger: its metrics.csv, epochs from 0, rows with holes.

    Rows without an epoch, as LearningRateMonitor writes them, are of the epoch of the next row at their step or later.
    A last row of test metrics alone, which ``Trainer.test`` writes after the last epoch, is of that epoch.
    """
    (table,) = delimited.read(source)
    if not {"epoch", "step"} <= set(table.frame.columns):
        raise LogError(f"{source}: has no columns 'epoch' and 'step', as Lightning's CSVLogger writes them")
    frame = table.frame.copy()
    frame["epoch"] = _filled(list(frame["epoch"]), list(frame["step"]))
    rows = frame["epoch"].notna().to_numpy()
    lines = [line for line, there in zip(table.lines, rows, strict=True) if there]
    table = replace(table, frame=frame[rows].reset_index(drop=True), lines=lines, numbering="zero")
    return [_with_test(table)]


def _filled(epochs: Sequence[Any], steps: Sequence[Any]) -> pd.Series:
    """The epochs, those of rows without one from the next row at a step that is no earlier."""
    filled = [epoch if str(epoch).strip() else None for epoch in epochs]
    for i in reversed(range(len(filled))):
        if filled[i] is None:
            later = (j for j in range(len(filled)) if filled[j] is not None and _at(steps[j]) >= _at(steps[i]))
            filled[i] = next((filled[j] for j in later if j > i), None)
            if filled[i] is None:
                filled[i] = next((filled[j] for j in reversed(range(i)) if filled[j] is not None), None)
    return pd.Series(filled, dtype=object)


def _at(step: Any) -> float:
    try:
        return number(step) or 0.0
    except ValueError:
        return 0.0


def _with_test(table: Table) -> Table:
    """The table with test metrics of after the last epoch at that epoch."""
    frame = table.frame
    others = [str(name) for name in frame.columns if name not in ("epoch", "step")]
    if not len(frame) or not others:
        return table
    last = len(frame) - 1
    said = [name for name in others if is_written(table, name)[last]]
    epochs = [_at(cell) for cell in frame["epoch"]]
    if said and all("test" in name.lower() for name in said) and last and epochs[last] == max(epochs[:last]) + 1:
        frame = frame.copy()
        frame.loc[last, "epoch"] = str(int(epochs[last]) - 1)
        return replace(table, frame=frame, notes=(*table.notes, "the test at the end is of the last epoch"))
    return table


REGISTER = {"lightning": Format(recognises, read)}
