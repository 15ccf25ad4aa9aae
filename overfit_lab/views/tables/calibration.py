"""Tab. B.1: expected calibration error under white-box and black-box attack."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from overfit_lab.records.experiments import unrepeated
from overfit_lab.records.reader import Run
from overfit_lab.views.tables.beside import comparison_notes, lines_for, published_label, with_published
from overfit_lab.views.tables.cells import Seeds, caption, sample_note, spread_over_seeds
from overfit_lab.views.tables.entries import Entry, entries
from overfit_lab.views.tables.methods import imported_note
from overfit_lab.views.tables.options import TableOptions
from overfit_lab.views.tables.readings import RUN_ATTACK, Reading, attack_titles, read
from overfit_lab.views.tables.table import EMPTY, Cell, Column, Footnotes, Row, Table

INPUTS = {"adversarial": "pgd", "black-box": "square"}
"""Inputs of the probe's records, and the attack that the paper names for them."""
FIELDS = ("ece", "ece_scaled")


def calibration(runs: Sequence[Run], options: TableOptions) -> Table:
    """Expected calibration error (15 bins, a fraction) of each method at best and final, white-box and black-box.

    As measured, and after temperature scaling (Tab. B.1). Best epoch: that of the highest robust accuracy, as in the
    table of methods; the error is only there where it was measured at that epoch.

    Raises:
        RunFolderError: a run holds nothing to read, or no evaluation on the split that is to choose.
        ConfigError: an option that has no meaning here.
    """
    options.need_default("calibration", "least_drop", "attacks")
    runs, notes = unrepeated(runs)
    rows = [Seeds.of(entry, options.best_by) for entry in entries(runs)]
    footnotes = Footnotes()
    quantities = {
        (inputs, field): [row.measure(partial(read_ece, field=field, inputs=inputs)) for row in rows]
        for inputs in INPUTS
        for field in FIELDS
    }
    missing = {inputs for (inputs, _), measured in quantities.items() if any(map(Seeds.lacks, rows, measured))}
    printed = [
        row.row([cell for part in parts for cell in part.cells(footnotes, percent=False)[:2]], footnotes)
        for row, *parts in zip(rows, *quantities.values(), strict=True)
    ]
    if options.published:
        entry_list = [row.entry for row in rows]
        printed = with_published(entry_list, printed, _published)
        notes += comparison_notes([entry for entry in entry_list if _published(entry)])
    notes += _missing(missing) + imported_note(rows)
    white = " / ".join(attack_titles(RUN_ATTACK, runs))
    heads = (f"white-box ({white})", "white-box, scaled", "black-box (Square)", "black-box, scaled")
    for head, measured in zip(heads, quantities.values(), strict=True):
        notes += sample_note(head, rows, measured)
    columns = tuple(Column(head, end, "", 3) for head in heads for end in ("best", "final"))
    error = f"Expected calibration error on test, 15 bins, {spread_over_seeds(rows)}"
    text = caption(rows, f"{error}; scaled: after temperature scaling.", "Final: the last epoch.")
    return Table("calibration", text, "method", columns, tuple(printed), notes, footnotes.items())


def read_ece(run: Run, epoch: int | None, weights: str, field: str, inputs: str) -> Reading:
    """The calibration error of some inputs at one epoch."""
    return read(run, epoch, weights, "calibration", field, inputs)


def _missing(inputs: set[str]) -> tuple[str, ...]:
    """How to measure what is not there."""
    if not inputs:
        return ()
    names = ",".join(name for name in INPUTS if name in inputs)
    command = f"overfit-lab probe RUN --metric calibration --inputs {names} --checkpoint best,final"
    return (f"–: not measured at that epoch; `{command}` does it.",)


def _published(entry: Entry) -> Row | None:
    """The paper's row for ours, as measured; it has none after temperature scaling."""
    lines = [lines_for(entry, "ece", attack) for attack in INPUTS.values()]
    if not any(lines):
        return None
    cells: list[Cell] = []
    for part in lines:
        ends = [Cell(value, digits=2) for value in (part[0].best, part[0].final)] if part else [EMPTY, EMPTY]
        cells += [*ends, EMPTY, EMPTY]
    return Row(published_label(entry, [line.table for part in lines for line in part]), tuple(cells))


REGISTER = {"calibration": calibration}
