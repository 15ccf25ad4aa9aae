"""Whether each run overfits, since when and by how much: the answers of the judge of robust overfitting."""

from __future__ import annotations

from collections.abc import Sequence

from overfit_lab.errors import RunFolderError
from overfit_lab.records.experiments import unrepeated
from overfit_lab.records.reader import Run
from overfit_lab.views.diagnosis.onset import is_judged
from overfit_lab.views.diagnosis.phases_of import phases_of
from overfit_lab.views.diagnosis.readings import diverged_at, evaluations_of
from overfit_lab.views.diagnosis.words import overfitting_of
from overfit_lab.views.tables.options import TableOptions
from overfit_lab.views.tables.pivot import unfinished_note
from overfit_lab.views.tables.table import EMPTY, Cell, Column, Row, Table

COLUMNS = (
    Column("", "verdict", "", None, "verdict", spread=False),
    Column("", "falls from epoch", "epoch", 0, "peak", spread=False, interval=True),
    Column("", "drop", "points", 1, "drop", spread=False, interval=True),
    Column("", "gap grows from epoch", "epoch", 0, "gap_onset", spread=False, interval=True),
    Column("", "gap widens by", "points", 1, "gap", spread=False, interval=True),
    Column("", "accuracy", "", None, "accuracy", spread=False),
    Column("", "evaluations", "", 0, "evaluations", spread=False),
    Column("", "test samples", "", 0, "samples", spread=False),
)


def overfitting(runs: Sequence[Run], options: TableOptions) -> Table:
    """What `diagnose` says of each run by itself, a row a run, with 95% intervals in brackets.

    Test accuracy falls from its best epoch on; its gap to train accuracy may begin to grow at another.

    Raises:
        RunFolderError: no run was evaluated, or a damaged one.
        ConfigError: an option that has no meaning here.
    """
    options.need_default("overfitting", "best_by", "attacks", "published")
    runs, notes = unrepeated(runs)
    trained = [run for run in runs if not run.is_imported]
    if not any(len(evaluations_of(run).epochs) for run in trained):
        raise RunFolderError("overfitting: no run has an evaluation while it was trained")
    rows = tuple(Row(run.name, _cells(run, options.least_drop / 100), seeds=1) for run in trained)
    least = f"In points of accuracy, with 95% intervals; a drop counts from {options.least_drop:g} on."
    return Table("overfitting", (), "run", COLUMNS, rows, (least, *notes, *unfinished_note(trained)), wide=True)


def _cells(run: Run, threshold: float) -> tuple[Cell, ...]:
    seen, judged = evaluations_of(run), phases_of(run, threshold)
    known = is_judged(run)
    verdict = judged.verdict if known else "not enough evidence"
    if diverged_at(run) is not None:
        verdict = "not enough evidence"
    words = overfitting_of(seen.kind) if verdict == "robust overfitting" else verdict
    peak, onset, drop, gap = EMPTY, EMPTY, EMPTY, EMPTY
    if known and judged.collapse is not None:
        peak = Cell(judged.collapse.before)
    elif known and judged.peak is not None:
        peak = Cell(judged.peak.epoch, interval=(judged.peak.low, judged.peak.high))
    if known and judged.onset is not None:
        onset = Cell(judged.onset.epoch, interval=(judged.onset.low, judged.onset.high))
    if known and judged.drop is not None:
        drop = _points(judged.drop.value, judged.drop.low, judged.drop.high)
    if known and judged.gap is not None:
        gap = _points(judged.gap.value, judged.gap.low, judged.gap.high)
    counts = (Cell(len(seen.epochs)), EMPTY if seen.n_test is None else Cell(seen.n_test))
    return (Cell(text=words), peak, drop, onset, gap, Cell(text=seen.kind), *counts)


def _points(value: float, low: float, high: float) -> Cell:
    return Cell(100 * value, interval=(100 * low, 100 * high))


REGISTER = {"overfitting": overfitting}
