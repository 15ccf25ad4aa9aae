"""The numbers of one run, by field and epoch, as records."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from overfit_lab.importing.epochs import Moment, ranges
from overfit_lab.importing.fields import SIZES, Field, field_of
from overfit_lab.importing.source import LogError
from overfit_lab.importing.table import Table
from overfit_lab.importing.values import numbers, says_percent
from overfit_lab.records.records import Record


def to_records(
    table: Table,
    epochs: Sequence[Moment],
    rows: Mapping[str, Mapping[int, int]],
    columns: Mapping[str, str],
    *,
    percent: bool,
    sizes: Mapping[str, int],
    say: Callable[[str], None],
) -> list[Record]:
    """The records of a run in order of epochs.

    Args:
        table: the log.
        epochs: of the run, in order.
        rows: by column, the row that holds its number of an epoch.
        columns: by field.
        percent: whether shares are percentages.
        sizes: samples of each split, where they are known.
        say: is told what was left out.
    """
    by_epoch: dict[int, list[Record]] = {moment.epoch: [] for moment in epochs}
    steps = {moment.epoch: moment.step for moment in epochs}
    for name, column in columns.items():
        to, values = field_of(name), numbers(table, column)
        series = {epoch: float(values[row]) for epoch, row in rows[column].items()}
        for epoch, value in _meant(series, name, say).items():
            by_epoch[epoch].append(_record(to, epoch, steps[epoch], value, percent, sizes))
    return [record for records in by_epoch.values() for record in records]


def _record(to: Field, epoch: int, step: int | None, value: float, percent: bool, sizes: Mapping[str, int]) -> Record:
    n = sizes.get(to.split) if to.probe.partition("@")[0] == "evaluation" else None
    stderr = None
    if to.is_share:
        value = min(max(value / 100 if percent else value, 0.0), 1.0) if math.isfinite(value) else value
        value = 1 - value if to.kind == "error" else value
        stderr = math.sqrt(value * (1 - value) / n) if n and math.isfinite(value) else None
    return Record(epoch, step, to.probe, to.field, to.split, to.inputs, to.labels, value, stderr, n, None)


def _meant(series: Mapping[int, float], name: str, say: Callable[[str], None]) -> dict[int, float]:
    """The numbers of a column without those NaN that stand for "not measured".

    NaN and infinities from some epoch to the end are what training diverged to, where the column has a number at every
    epoch before; they stay. Others stand for no number.
    """
    epochs = sorted(series)
    finite = [epoch for epoch in epochs if math.isfinite(series[epoch])]
    odd = [epoch for epoch in epochs if not math.isfinite(series[epoch])]
    if not odd:
        return dict(series)
    if finite and min(odd) > max(finite):
        say(f"{name} is not finite from epoch {min(odd)} on")
        return dict(series)
    if finite:
        say(f"{name} has no number at epochs {ranges(odd)}")
    return {epoch: series[epoch] for epoch in finite}


def sizes_of(table: Table, rows: Sequence[int], columns: Mapping[str, str], known: Mapping[str, int]) -> dict[str, int]:
    """Samples of each split: as the user says, by a column, or as the log says; unknown ones are left out.

    Raises:
        LogError: a column of sizes holds no whole number above 0, or several.
    """
    sizes = dict(table.sizes)
    for name, split in SIZES.items():
        if name in columns:
            values = numbers(table, columns[name])[np.array(rows)]
            values = np.unique(values[np.isfinite(values)])
            if len(values) > 1 or (len(values) and (values[0] < 1 or values[0] != math.floor(values[0]))):
                shown = ", ".join(f"{value:g}" for value in values[:3])
                raise LogError(f"{table.place(rows[0])}: {columns[name]!r} is {shown}, expected one number of samples")
            sizes |= {split: int(values[0])} if len(values) else {}
    return {split: n for split in ("train", "test", "val") if (n := {**sizes, **known}.get(split)) is not None}


def check_signs(table: Table, columns: Sequence[str]) -> None:
    """Refuse a column that mixes percentages with numbers without a sign.

    Raises:
        LogError: a column has both.
    """
    for column in columns:
        if not says_percent(table, column) or "%" in column:
            continue
        signed = [isinstance(cell, str) and cell.strip().endswith("%") for cell in table.frame[column]]
        filled = [cell not in (None, "") for cell in table.frame[column]]
        if any(signed) and any(f and not s for s, f in zip(signed, filled, strict=True)):
            row = next(i for i, (s, f) in enumerate(zip(signed, filled, strict=True)) if f and not s)
            raise LogError(f"{table.place(row)}: {column!r} has no percent sign here, other rows have one")
