"""Tables whose columns are a setting of the runs: one number of the final checkpoint in each place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from overfit_lab.records.reader import Run
from overfit_lab.records.summary import RAW
from overfit_lab.views.tables.entries import Entry
from overfit_lab.views.tables.readings import Reading, epochs_of
from overfit_lab.views.tables.table import EMPTY, Cell, Footnotes, cell_of

Place = TypeVar("Place")
Read = Callable[[Run, int | None, str], Reading]


def places(entry: Entry, place_of: Callable[[Run], Place]) -> dict[Place, list[Run]]:
    """An entry's runs by the column that they belong to."""
    found: dict[Place, list[Run]] = {}
    for run in entry.runs:
        found.setdefault(place_of(run), []).append(run)
    return found


def final_cell(runs: Sequence[Run], weights: str, read: Read) -> Cell:
    """A number in percent at the final epoch, over the runs that have it; empty for no runs."""
    return cell_of(read(run, epochs_of(run, weights).final, weights).percent for run in runs) if runs else EMPTY


def unfinished_note(runs: Sequence[Run]) -> tuple[str, ...]:
    """A note on runs that did not come to their end."""
    text = Entry("", "", "", RAW, tuple(runs)).unfinished
    return (f"{text[0].upper()}{text[1:]}.",) if text else ()


def seeds_note(cells: Sequence[Cell]) -> str:
    """How many seeds a cell is of: "3 seeds a cell", "1 to 3 seeds a cell"."""
    counts = sorted({cell.n for cell in cells if cell.n})
    if counts in ([], [1]):
        return "one seed a cell"
    number = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"mean ± sample standard deviation over {number} seeds"


def mark_fewer(cells: dict[Place, Cell], footnotes: Footnotes) -> dict[Place, Cell]:
    """Cells of fewer seeds than the fullest of their row, with a footnote that says of how many."""
    most = max((cell.n for cell in cells.values()), default=0)
    words = {n: f"of {n} seed{'s' if n > 1 else ''}" for n in range(1, most)}
    return {
        place: Cell(cell.mean, cell.std, cell.n, footnotes.mark(words.get(cell.n, "")), cell.digits)
        for place, cell in cells.items()
    }
