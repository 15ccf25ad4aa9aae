"""Rows of a run to epochs: which row says what was measured when an epoch had ended."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from overfit_lab.files.limits import LOG_EPOCHS
from overfit_lab.importing.columns import ROW
from overfit_lab.importing.source import LogError
from overfit_lab.importing.table import Table
from overfit_lab.importing.values import is_written, numbers

MOST_EPOCHS = LOG_EPOCHS


@dataclass
class Moment:
    """A row.

    Args:
        row: its position in the table.
        epoch: completed epochs.
        step: optimiser steps, where the log says them.
    """

    row: int
    epoch: int
    step: int | None


def moments(
    table: Table,
    rows: Sequence[int],
    epoch: str | None,
    step: str | None,
    *,
    trains: np.ndarray,
    steps_per_epoch: float | None,
    first_epoch: int | None,
    say: Callable[[str], None],
) -> list[Moment]:
    """When each row of a run was written.

    Args:
        table: the log.
        rows: positions of the run's rows, in the order of the log.
        epoch: the column of epochs.
        step: the column of steps.
        trains: whether a row has a number on train (rows of the table,).
        steps_per_epoch: optimiser steps of an epoch, where the user says them.
        first_epoch: what the log calls its first epoch, where the user says it.
        say: is told what was done.

    Raises:
        LogError: an epoch or step is no number, or it cannot be told what an epoch is.
    """
    positions = np.array(rows)
    steps = _whole(table, step, positions, strict=epoch is None or steps_per_epoch is not None) if step else None
    if epoch == ROW:
        ends = np.arange(1, len(positions) + 1)
        say("the rows are taken as epochs")
    elif epoch is not None and steps_per_epoch is None:
        ends = _by_epoch(table, epoch, positions, trains, first_epoch, say)
    elif steps is not None and step is not None:
        ends = _by_step(table, step, positions, steps, trains, steps_per_epoch, first_epoch, say)
        steps = None if steps_per_epoch is None else steps  # rows that are counted are no optimiser steps
    else:
        raise LogError(f"{table.source}: --steps-per-epoch needs a column of steps; give --map step=COLUMN")
    return [
        Moment(int(row), int(end), None if steps is None or steps[i] < 0 else int(steps[i]))
        for i, (row, end) in enumerate(zip(positions, ends, strict=True))
    ]


def _whole(table: Table, column: str, positions: np.ndarray, *, strict: bool) -> np.ndarray:
    """Steps, -1 where there is none.

    Raises:
        LogError: with ``strict`` there is none.
    """
    values = numbers(table, column)[positions]
    wrong = np.flatnonzero(~np.isfinite(values) | (values < 0) | (values > 2**53) | (values != np.floor(values)))
    if len(wrong) and strict:
        cell = table.frame[column].iloc[int(positions[wrong[0]])]
        raise LogError(
            f"{table.place(int(positions[wrong[0]]))}: {column!r} is {cell!r}, expected a whole number from 0 on"
        )
    values = values.copy()
    values[wrong] = -1
    return values.astype(np.int64)


def _by_epoch(
    table: Table,
    column: str,
    positions: np.ndarray,
    trains: np.ndarray,
    first: int | None,
    say: Callable[[str], None],
) -> np.ndarray:
    values = numbers(table, column)[positions]
    wrong = np.flatnonzero(~np.isfinite(values) | (values < 0) | (values > MOST_EPOCHS))
    if len(wrong):
        cell = table.frame[column].iloc[int(positions[wrong[0]])]
        raise LogError(f"{table.place(int(positions[wrong[0]]))}: {column!r} is {cell!r}, expected an epoch, 0 or more")
    if (values != np.floor(values)).any():
        say("epochs have fractions: each row counts for the epoch that it lies in")
        return np.ceil(values - 1e-9).astype(np.int64)
    epochs = values.astype(np.int64)
    zero = _counts_from_zero(epochs, trains[positions], table.numbering, first)
    if zero:
        say("epochs are counted from 0: 1 is added")
    return epochs + (1 if zero else 0)


def _counts_from_zero(numbers: np.ndarray, trains: np.ndarray, numbering: str, first: int | None) -> bool:
    """Whether 0 is the first epoch, and not before training: its row has a number on train, or no row has."""
    if first is not None:
        return first == 0
    if numbering != "guess":
        return numbering == "zero"
    return bool((numbers == 0).any()) and bool(trains[numbers == 0].any() or not trains.any())


def _by_step(
    table: Table,
    column: str,
    positions: np.ndarray,
    steps: np.ndarray,
    trains: np.ndarray,
    per_epoch: float | None,
    first: int | None,
    say: Callable[[str], None],
) -> np.ndarray:
    if per_epoch is None:
        distinct = np.unique(steps)
        gaps = np.unique(np.diff(distinct))
        if not (distinct[0] <= 1 and (len(gaps) == 0 or (gaps == 1).all())):
            apart = f"; its rows are {gaps[0]} apart" if len(gaps) == 1 else ""
            raise LogError(
                f"{table.source}: {column!r} counts steps{apart}, and no column counts epochs; "
                f"give --steps-per-epoch N or --map epoch=COLUMN"
            )
        zero = _counts_from_zero(steps, trains[positions], table.numbering, first)
        say(f"{column!r} goes up by one: it is taken as epochs" + (", counted from 0: 1 is added" if zero else ""))
        return steps + (1 if zero else 0)
    last = np.isclose(np.mod(steps + 1, per_epoch), 0).mean() > np.isclose(np.mod(steps, per_epoch), 0).mean()
    zero = first == 0 if first is not None else bool(last)
    epochs: np.ndarray = np.ceil((steps + zero) / per_epoch - 1e-9).astype(np.int64)
    largest = int(np.diff(np.unique(steps)).max()) if len(np.unique(steps)) > 1 else 0
    ends = int(steps.max() + zero)
    if epochs.max() > 1 and epochs.max() * per_epoch - ends >= max(largest, 1):
        say(f"epoch {epochs.max()} is not complete in the log (step {ends}), it is left out")
        epochs[epochs == epochs.max()] = -1
    say(f"epochs are {per_epoch:g} steps; of each the last row counts")
    return epochs


def merged(
    table: Table, run: Sequence[Moment], columns: Sequence[str], say: Callable[[str], None]
) -> tuple[list[Moment], dict[str, dict[int, int]]]:
    """One moment an epoch, and for each column the row that holds its number of an epoch.

    Rows of one epoch that follow each other are merged, of each column the last cell that says something. Where the log
    goes back to an earlier epoch and says its numbers again, it is that of a resumed run: what it said of that epoch
    and later ones is dropped.

    Args:
        table: the log.
        run: rows of a run in the order of the log; those of epoch -1 are passed over.
        columns: with numbers.
        say: is told what was done.
    """
    written = {column: is_written(table, column) for column in columns}
    cells: dict[int, dict[str, int]] = {}
    steps: dict[int, int | None] = {}
    back: list[str] = []
    n_rows: dict[int, int] = {}
    previous = None
    for moment in run:
        epoch = moment.epoch
        if epoch < 0:
            continue
        mine = {column: moment.row for column in columns if written[column][moment.row]}
        known = cells.get(epoch, {})
        if epoch != previous and known.keys() & mine.keys():
            later = [e for e in cells if e >= epoch]
            back.append(_went_back(table, moment, later))
            for e in later:
                del cells[e]
                n_rows.pop(e, None)
        n_rows[epoch] = n_rows.get(epoch, 0) + bool(known.keys() & mine.keys() and epoch == previous)
        cells.setdefault(epoch, {}).update(mine)
        steps[epoch] = moment.step if moment.step is not None else steps.get(epoch)
        previous = epoch
    _tell(list(cells), back, n_rows, say)
    order = sorted(epoch for epoch, row in cells.items() if row)
    numbered = {
        column: {epoch: cells[epoch][column] for epoch in order if column in cells[epoch]} for column in columns
    }
    return [Moment(max(cells[epoch].values()), epoch, steps[epoch]) for epoch in order], numbered


def _went_back(table: Table, moment: Moment, later: Sequence[int]) -> str:
    place = table.place(moment.row).rpartition(", ")[2]
    return f"{place} goes back to epoch {moment.epoch}: epochs {ranges(sorted(later))} of before are dropped"


def _tell(epochs: Sequence[int], back: Sequence[str], n_rows: dict[int, int], say: Callable[[str], None]) -> None:
    """Say what is odd about the epochs."""
    if len(back) > 3:
        say(f"{back[0]}; so {len(back) - 1} more times")
    else:
        for text in back:
            say(text)
    repeated = [epoch for epoch, n in n_rows.items() if n]
    if repeated and len(repeated) <= len(epochs) / 2:
        say(f"epochs {ranges(sorted(repeated))} have several rows, the last stands")
    elif repeated:
        say("epochs have several rows: of each column the last number stands")
    if not back and list(epochs) != sorted(epochs):
        say("rows are not in the order of epochs: sorted")
    between = sorted(set(range(min(epochs), max(epochs) + 1)) - set(epochs)) if len(epochs) > 1 else []
    gaps = np.diff(sorted(epochs))
    if between and len(between) < len(epochs) and not (gaps == gaps[0]).all():
        say(f"epochs missing: {ranges(between)}")


def ranges(numbers: Sequence[int]) -> str:
    """Increasing numbers as ``1 to 3, 7``, at most a few parts.

    Example:
        >>> ranges([1, 2, 3, 7])
        '1 to 3, 7'
    """
    parts: list[list[int]] = []
    for n in numbers:
        if parts and n == parts[-1][-1] + 1:
            parts[-1][1:] = [n]
        else:
            parts.append([n])
    texts = [f"{part[0]} to {part[-1]}" if len(part) > 1 else str(part[0]) for part in parts]
    return ", ".join(texts if len(texts) <= 6 else [*texts[:5], f"and {len(texts) - 5} more"])


def check_steps(per_epoch: float | None) -> None:
    """Refuse what is no number of steps.

    Raises:
        LogError: it is not above 0.
    """
    if per_epoch is not None and not (per_epoch > 0 and math.isfinite(per_epoch)):
        raise LogError(f"--steps-per-epoch {per_epoch:g}: expected a number above 0")
