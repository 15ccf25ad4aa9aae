"""Cells from the readings of a row's seeds, with their footnotes and notes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from overfit_lab.records.reader import Run
from overfit_lab.views.tables.entries import Entry
from overfit_lab.views.tables.readings import Epochs, Reading, epochs_of, has_evaluation
from overfit_lab.views.tables.table import Cell, Footnotes, Row, best_final_diff

K = TypeVar("K")
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
        """Read a quantity at the best and the final epoch of each run."""
        pairs = list(zip(self.entry.runs, self.epochs, strict=True))
        return Measured(
            tuple(reader(run, epochs.best, self.entry.weights) for run, epochs in pairs),
            tuple(reader(run, epochs.final, self.entry.weights) for run, epochs in pairs),
        )

    def lacks(self, measured: Measured) -> bool:
        """Whether a reading of some seed is missing that could be measured."""
        ends = measured.final if self.final_only else (*measured.best, *measured.final)
        return any(reading.value is None for reading in ends)

    def row(self, cells: Sequence[Cell], footnotes: Footnotes) -> Row:
        """The row of some cells; a footnote says which runs did not come to their end."""
        entry = self.entry
        mark = footnotes.mark(entry.unfinished)
        return Row(entry.label, tuple(cells), entry.section, seeds=len(entry.runs), mark=mark)


def chosen_on(rows: Sequence[Seeds]) -> str:
    """The sentence on how best checkpoints were chosen, row by row where they differ."""
    chosen = labels_by((epochs.chosen_on, row) for row in rows for epochs in row.epochs if epochs.chosen_on)
    if not chosen:
        return ""
    return f"Best: the epoch of the highest {row_by_row({_choice(by): names for by, names in chosen.items()})}."


def labels_by(pairs: Iterable[tuple[K, Seeds]]) -> dict[K, list[str]]:
    """The labels of the rows that have each key, each label once."""
    labels: dict[K, dict[str, None]] = {}
    for key, row in pairs:
        labels.setdefault(key, {})[row.entry.label] = None
    return {key: list(names) for key, names in labels.items()}


def row_by_row(statements: dict[str, list[str]]) -> str:
    """Statements and the rows that they hold for; the commonest comes first and names no rows."""
    first, *others = sorted(statements, key=lambda text: (-len(statements[text]), text))
    return "; ".join([first, *(f"for {', '.join(statements[text])}: {text}" for text in others)])


def _choice(chosen: str) -> str:
    field, _, split = chosen.partition(" on ")
    return f"{FIELDS[field]} on {'validation' if split == 'val' else 'test, a maximum over test evaluations'}"


def spread_over_seeds(rows: Sequence[Seeds]) -> str:
    """A cell's statistic in words."""
    several = any(len(row.entry.runs) > 1 for row in rows)
    if several:
        return "mean ± sample standard deviation over seeds"
    known = all(run.config.knows("seed") for row in rows for run in row.entry.runs)
    return "one seed each" if known else "one run each"


def shared_setting(rows: Sequence[Entry]) -> str:
    """Data, model and threat model where all rows have the same; "" where sections name them."""
    settings = {row.section for row in rows}
    return f"Setting: {settings.pop()}." if len(settings) == 1 else ""


def caption(rows: Sequence[Seeds], numbers: str, ends: str) -> tuple[str, ...]:
    """What the numbers are, how the best was chosen, and the setting where all rows share it."""
    setting = shared_setting([row.entry for row in rows])
    if all(run.is_imported for row in rows for run in row.entry.runs):
        ends = "Final: the imported weights."
    return tuple(text for text in (numbers, chosen_on(rows), ends, setting) if text)


def sample_note(title: str, rows: Sequence[Seeds], measured: Sequence[Measured]) -> tuple[str, ...]:
    """A note on how many test images a quantity is of, where that is not all of the test split."""
    labels = labels_by(
        ((reading.n, total), row)
        for row, ends in zip(rows, measured, strict=True)
        for run, *readings in zip(row.entry.runs, ends.best, ends.final, strict=True)
        for reading in readings
        if (total := run.sizes.get("test")) and reading.value is not None and reading.n is not None
    )
    if all(n == total for n, total in labels):
        return ()
    parts = [f"on {n:,} of {total:,} test images" for n, total in labels]
    if len(labels) > 1:
        parts = [f"{text} ({', '.join(names)})" for text, names in zip(parts, labels.values(), strict=True)]
    return (f"{title}: {'; '.join(parts)}.",)


def checkpoints(rows: Sequence[Seeds]) -> str:
    """The option that measures what is missing: imported weights have one checkpoint alone."""
    trained = any(has_evaluation(run) for row in rows for run in row.entry.runs)
    return f"--checkpoint {'best,final' if trained else 'final'}"
