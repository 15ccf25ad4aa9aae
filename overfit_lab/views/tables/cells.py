"""From the readings of a row's seeds to its cells, with what a reader must know of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from overfit_lab.records.reader import Run
from overfit_lab.views.tables.entries import Entry
from overfit_lab.views.tables.readings import Epochs, Reading, epochs_of
from overfit_lab.views.tables.table import Cell, Footnotes, Row, best_final_diff

Reader = Callable[[Run, int | None, str], Reading]
FIELDS = {"acc_adv": "robust accuracy", "acc_clean": "clean accuracy"}


@dataclass(frozen=True)
class Measured:
    """One quantity of one row: a reading a seed, at the best and at the final epoch."""

    best: tuple[Reading, ...]
    final: tuple[Reading, ...]

    def cells(self, footnotes: Footnotes, *, percent: bool = True) -> tuple[Cell, Cell, Cell]:
        """Best, final and diff; a footnote says where not every seed entered."""
        best, final = ([r.percent if percent else r.value for r in part] for part in (self.best, self.final))
        ends = best_final_diff(best, final)
        at_best, at_final, diff = (mark_coverage(cell, len(best), footnotes) for cell in ends)
        return at_best, at_final, diff

    @property
    def missing_best(self) -> bool:
        """Whether some seed has no reading at its best epoch."""
        return any(reading.value is None for reading in self.best)

    @property
    def missing_final(self) -> bool:
        """Whether some seed has no reading at the final epoch."""
        return any(reading.value is None for reading in self.final)


def mark_coverage(cell: Cell, n_seeds: int, footnotes: Footnotes) -> Cell:
    """The cell, with a footnote where fewer seeds entered than the row has."""
    if not 0 < cell.n < n_seeds:
        return cell
    return replace(cell, mark=footnotes.mark(f"of {cell.n} of {n_seeds} seeds"))


@dataclass(frozen=True)
class Seeds:
    """A row's entry and where each of its runs is read."""

    entry: Entry
    epochs: tuple[Epochs, ...]

    @classmethod
    def of(cls, entry: Entry, best_by: str) -> Seeds:
        """The epochs of an entry's runs.

        Raises:
            RunFolderError: see :func:`overfit_lab.views.tables.readings.epochs_of`.
        """
        return cls(entry, tuple(epochs_of(run, entry.weights, best_by) for run in entry.runs))

    @property
    def final_only(self) -> bool:
        """Whether there is no best epoch, as with imported weights."""
        return all(epochs.best is None for epochs in self.epochs)

    def measure(self, reader: Reader) -> Measured:
        """A quantity at the best and the final epoch of each run."""
        pairs = list(zip(self.entry.runs, self.epochs, strict=True))
        return Measured(
            tuple(reader(run, at.best, self.entry.weights) for run, at in pairs),
            tuple(reader(run, at.final, self.entry.weights) for run, at in pairs),
        )

    def row(self, cells: Sequence[Cell], footnotes: Footnotes) -> Row:
        """The row of some cells; a footnote says which runs did not come to their end."""
        entry = self.entry
        mark = footnotes.mark(entry.unfinished)
        return Row(entry.label, tuple(cells), entry.section, seeds=len(entry.runs), mark=mark)


def chosen_on(rows: Sequence[Seeds]) -> str:
    """The sentence on how best checkpoints were chosen, row by row where they differ."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for epochs in row.epochs:
            if epochs.chosen_on:
                names = found.setdefault(epochs.chosen_on, [])
                if row.entry.label not in names:
                    names.append(row.entry.label)
    if not found:
        return ""
    told = row_by_row({_choice(chosen): names for chosen, names in found.items()})
    return f"Best: the epoch of the highest {told}."


def row_by_row(found: dict[str, list[str]]) -> str:
    """Statements with the rows that they hold of; the commonest stands first, for all rows that are not named."""
    first, *others = sorted(found, key=lambda text: (-len(found[text]), text))
    return "; ".join([first, *(f"for {', '.join(found[text])}: {text}" for text in others)])


def _choice(chosen: str) -> str:
    field, _, split = chosen.partition(" on ")
    where = "validation" if split == "val" else "test, a maximum over test evaluations"
    return f"{FIELDS[field]} on {where}"


def spread_over_seeds(rows: Sequence[Seeds]) -> str:
    """What the numbers of a cell are, in words."""
    several = any(len(row.entry.runs) > 1 for row in rows)
    return "mean ± sample standard deviation over seeds" if several else "one seed each"


def shared_setting(rows: Sequence[Entry]) -> str:
    """Data, model and threat model where all rows have the same; "" where sections name them."""
    found = {row.section for row in rows}
    return f"Setting: {found.pop()}." if len(found) == 1 else ""


def sample_note(what: str, rows: Sequence[tuple[Seeds, Measured]]) -> tuple[str, ...]:
    """A note on how many test images a quantity is of, where that is not all of the test split."""
    found: dict[tuple[int, int], list[str]] = {}
    for row, measured in rows:
        for run, *readings in zip(row.entry.runs, measured.best, measured.final, strict=True):
            total = run.info.get("data", {}).get("sizes", {}).get("test")
            for reading in readings:
                if total and reading.value is not None:
                    names = found.setdefault((reading.n, total), [])
                    if row.entry.label not in names:
                        names.append(row.entry.label)
    if all(n == total for n, total in found):
        return ()
    told = [f"on {n:,} of {total:,} test images" for n, total in found]
    if len(found) > 1:
        told = [f"{text} ({', '.join(names)})" for text, names in zip(told, found.values(), strict=True)]
    return (f"{what}: {'; '.join(told)}.",)
