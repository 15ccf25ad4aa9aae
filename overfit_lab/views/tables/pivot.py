"""Cells of tables whose columns are a setting of the runs, at the final checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from overfit_lab.records.reader import Run
from overfit_lab.records.summary import RAW
from overfit_lab.views.figures.caption import span
from overfit_lab.views.tables.entries import Entry
from overfit_lab.views.tables.readings import Reading, epochs_of
from overfit_lab.views.tables.table import EMPTY, Cell, Footnotes, cell_of

Place = TypeVar("Place")
Read = Callable[[Run, int | None, str], Reading]


def places(entry: Entry, place_of: Callable[[Run], Place]) -> dict[Place, list[Run]]:
    """An entry's runs by their column."""
    by_place: dict[Place, list[Run]] = {}
    for run in entry.runs:
        by_place.setdefault(place_of(run), []).append(run)
    return by_place


def final_cell(runs: Sequence[Run], weights: str, read: Read) -> Cell:
    """A number in percent at the final epoch, over the runs that have it; empty for no runs."""
    return cell_of(read(run, epochs_of(run, weights).final, weights).percent for run in runs) if runs else EMPTY


def unfinished_note(runs: Sequence[Run]) -> tuple[str, ...]:
    """A note on runs that did not come to their end."""
    text = Entry("", "", "", RAW, tuple(runs)).unfinished
    return (f"{text[0].upper()}{text[1:]}.",) if text else ()


def seeds_note(cells: Sequence[Cell]) -> str:
    """How many seeds a cell is of: "3 seeds a cell", "1 to 3 seeds a cell"."""
    number = span({cell.n for cell in cells if cell.n})
    return "one seed a cell" if number in ("", "1") else f"mean ± sample standard deviation over {number} seeds"


def mark_fewer(cells: dict[Place, Cell], footnotes: Footnotes) -> dict[Place, Cell]:
    """Cells of fewer seeds than the fullest of their row, with a footnote that says of how many."""
    most = max((cell.n for cell in cells.values()), default=0)
    words = {n: f"of {n} seed{'s' if n > 1 else ''}" for n in range(1, most)}
    return {place: replace(cell, mark=footnotes.mark(words.get(cell.n, ""))) for place, cell in cells.items()}
