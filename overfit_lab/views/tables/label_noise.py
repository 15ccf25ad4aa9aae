"""Tab. B.2: the test error of each label mode over rates of label noise."""

from __future__ import annotations

from collections.abc import Sequence

from overfit_lab.errors import RunFolderError
from overfit_lab.records.experiments import unrepeated
from overfit_lab.records.noise import NO_NOISE, noise_of
from overfit_lab.records.reader import Run
from overfit_lab.views.published.reader import noise_errors
from overfit_lab.views.tables.beside import comparison_notes, published_label
from overfit_lab.views.tables.cells import shared_setting
from overfit_lab.views.tables.entries import Entry, entries
from overfit_lab.views.tables.options import TableOptions
from overfit_lab.views.tables.pivot import final_cell, mark_fewer, places, seeds_note, unfinished_note
from overfit_lab.views.tables.readings import Reading, read_natural
from overfit_lab.views.tables.table import EMPTY, PUBLISHED, Cell, Column, Footnotes, Row, Table

THEIR_NOISE = "symmetric"


def label_noise(runs: Sequence[Run], options: TableOptions) -> Table:
    """Test error in percent of the final checkpoint, a row a method, a column a rate of label noise (Tab. B.2).

    The error is that on clean images with clean labels: noise is in training labels alone. Kinds of noise have columns
    of their own, since a rate means another share of wrong labels in each.

    Raises:
        RunFolderError: a run without evaluation.
        ConfigError: an option that has no meaning here.
    """
    options.need_default("label-noise", "least_drop", "best_by", "attacks")
    unknown = [run.name for run in runs if noise_of(run) is None]
    if unknown:
        raise RunFolderError(
            f"label-noise: the label noise of {', '.join(unknown[:3])} is not known; Monitor(y_true=...) says it"
        )
    runs, notes = unrepeated(runs)
    entry_list = entries(runs, ("data.noise",), noise=False)
    noises = sorted({_noise(run) for run in runs} | (_published_noises() if options.published else set()))
    footnotes = Footnotes()
    rows: list[Row] = []
    matched: list[Entry] = []
    for entry in entry_list:
        by_place = places(entry, _noise)
        cells = {place: final_cell(by_place.get(place, []), entry.weights, read_error) for place in noises}
        seeds = max(cell.n for cell in cells.values())
        marked = tuple(mark_fewer(cells, footnotes).values())
        rows.append(Row(entry.label, marked, entry.section, seeds=seeds or None))
        if options.published and (theirs := _published(entry, noises)):
            matched.append(entry)
            rows.append(Row(published_label(entry, ["B.2"]), theirs, entry.section, PUBLISHED))
    notes += _comparison(matched) if options.published else ()
    notes += unfinished_note(runs)
    cells_measured = [cell for row in rows if row.source != PUBLISHED for cell in row.cells]
    error = f"Test error in % on clean images at the last epoch, {seeds_note(cells_measured)}."
    columns = tuple(Column(f"{kind} label noise" if kind else "", f"{100 * rate:g}%") for kind, rate in noises)
    text = tuple(filter(None, (error, shared_setting(entry_list))))
    return Table("label-noise", text, "method", columns, tuple(rows), notes, footnotes.items())


def read_error(run: Run, epoch: int | None, weights: str) -> Reading:
    """1 - clean test accuracy."""
    accuracy = read_natural(run, epoch, weights)
    return accuracy if accuracy.value is None else Reading(1 - accuracy.value, accuracy.n)


def _noise(run: Run) -> tuple[str, float]:
    return noise_of(run) or NO_NOISE


def _published_noises() -> set[tuple[str, float]]:
    return {(THEIR_NOISE, rate) if rate else NO_NOISE for _, rate in noise_errors()}


def _published(entry: Entry, noises: Sequence[tuple[str, float]]) -> tuple[Cell, ...] | None:
    """The paper's row for a label mode in standard training without regularizers; None where it has none."""
    config = entry.runs[0].config
    if not entry.key or config.objective.name != "standard" or config.regularizers:
        return None
    errors = noise_errors()
    values = [errors.get((config.labels.name, rate)) if kind in ("", THEIR_NOISE) else None for kind, rate in noises]
    cells = tuple(EMPTY if value is None else Cell(value, digits=1) for value in values)
    return cells if any(value is not None for value in values) else None


def _comparison(matched: Sequence[Entry]) -> tuple[str, ...]:
    notes = comparison_notes(matched, noise=False)
    return (*notes, "Tab. B.2 is taken to be of standard training with symmetric noise.") if matched else notes


REGISTER = {"label-noise": label_noise}
