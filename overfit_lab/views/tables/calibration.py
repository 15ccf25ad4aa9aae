"""Tab. B.1: expected calibration error under white-box and black-box attack."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from overfit_lab.records.reader import Run
from overfit_lab.views.tables.beside import comparison_notes, lines_for, published_label, with_published
from overfit_lab.views.tables.cells import Measured, Seeds, chosen_on, sample_note, shared_setting, spread_over_seeds
from overfit_lab.views.tables.entries import Entry, entries, unrepeated
from overfit_lab.views.tables.methods import imported_note
from overfit_lab.views.tables.options import TableOptions
from overfit_lab.views.tables.readings import OWN, Reading, attack_titles, read
from overfit_lab.views.tables.table import EMPTY, Cell, Column, Footnotes, Row, Table

INPUTS = {"adversarial": "pgd", "black-box": "square"}
"""Inputs of the probe's records, and the attack that the paper names for them."""
FIELDS = ("ece", "ece_scaled")


def calibration(runs: Sequence[Run], options: TableOptions) -> Table:
    """Expected calibration error (15 bins, a fraction) of each method at best and final, white-box and black-box.

    As measured, and after temperature scaling (Tab. B.1). Best epoch: that of the highest robust accuracy, as in the
    table of methods; the error is only there where it was measured at that epoch.

    Args:
        runs: runs of any methods.
        options: see there; no attacks.

    Raises:
        RunFolderError: a run holds nothing to read, or no evaluation on the split that is to choose.
        ConfigError: an option that has no meaning here.
    """
    options.need_default("calibration", "attacks")
    kept, notes = unrepeated(runs)
    rows = [Seeds.of(entry, options.best_by) for entry in entries(kept)]
    footnotes = Footnotes()
    quantities = [(inputs, field) for inputs in INPUTS for field in FIELDS]
    printed: list[Row] = []
    missing: set[str] = set()
    seen: list[list[tuple[Seeds, Measured]]] = [[] for _ in quantities]
    for row in rows:
        measured = [row.measure(partial(read_ece, field=field, inputs=inputs)) for inputs, field in quantities]
        for i, found_here in enumerate(measured):
            seen[i].append((row, found_here))
        missing |= {place[0] for place, m in zip(quantities, measured, strict=True) if _incomplete(row, m)}
        cells = [cell for m in measured for cell in m.cells(footnotes, percent=False)[:2]]
        printed.append(row.row(cells, footnotes))
    if options.published:
        found = [row.entry for row in rows]
        printed = with_published(found, printed, _published)
        notes += comparison_notes([entry for entry in found if _published(entry)])
    notes += _missing(missing) + imported_note(rows)
    white = " / ".join(attack_titles(OWN, kept))
    heads = (f"white-box ({white})", "white-box, scaled", "black-box (Square)", "black-box, scaled")
    for head, found_there in zip(heads, seen, strict=True):
        notes += sample_note(head, found_there)
    columns = tuple(Column(head, end, "", 3) for head in heads for end in ("best", "final"))
    what = f"Expected calibration error on test, 15 bins, {spread_over_seeds(rows)}; scaled: after "
    setting = shared_setting([row.entry for row in rows])
    told = (what + "temperature scaling.", chosen_on(rows), "Final: the last epoch.", setting)
    text = tuple(filter(None, told))
    return Table("calibration", text, "method", columns, tuple(printed), notes, footnotes.items())


def read_ece(run: Run, epoch: int | None, weights: str, field: str, inputs: str) -> Reading:
    """The calibration error of some inputs at one epoch."""
    return read(run, epoch, weights, "calibration", field, inputs)


def _incomplete(row: Seeds, measured: Measured) -> bool:
    return measured.missing_final or (measured.missing_best and not row.final_only)


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
    for found in lines:
        ends = [Cell(value, digits=2) for value in (found[0].best, found[0].final)] if found else [EMPTY, EMPTY]
        cells += [*ends, EMPTY, EMPTY]
    return Row(published_label(entry, [line.table for part in lines for line in part]), tuple(cells))


REGISTER = {"calibration": calibration}
