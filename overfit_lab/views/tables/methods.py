"""Tabs. 2, 3 and B.4: what each method has at its best and its final checkpoint, and what it lost between them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from overfit_lab.records.experiments import unrepeated
from overfit_lab.records.naming import PGD, attack_title
from overfit_lab.records.reader import Run
from overfit_lab.views.tables.beside import (
    THEIR_ATTACK,
    comparison_notes,
    lines_for,
    printed_cells,
    published_label,
    with_published,
)
from overfit_lab.views.tables.cells import (
    Seeds,
    caption,
    checkpoints,
    labels_by,
    row_by_row,
    sample_note,
    spread_over_seeds,
)
from overfit_lab.views.tables.entries import Entry, entries
from overfit_lab.views.tables.options import TableOptions
from overfit_lab.views.tables.readings import (
    RUN_ATTACK,
    attack_titles,
    check_attacks,
    measured_attacks,
    own_attack,
    read_attack,
    read_natural,
)
from overfit_lab.views.tables.table import Column, Footnotes, Row, Table

ENDS = ("best", "final", "diff")
DIFF = "Final: the last epoch; diff: best - final, seed by seed."
AUTOATTACK = "autoattack"


def methods(runs: Sequence[Run], options: TableOptions) -> Table:
    """Natural and robust test accuracy of each method at best and final, and the difference (Tabs. 2, 3, B.4).

    One row a method and set of weights, mean and sample standard deviation over seeds. All numbers of a row and seed
    are read at the same best epoch; diff is best - final seed by seed. Runs of different data, models or threat models
    stand in sections of their own, so that one call may print all of them and none are averaged.

    Raises:
        RunFolderError: a run holds no evaluation, or none on the split that is to choose.
        ConfigError: an unknown attack.
    """
    check_attacks(options.attacks, runs)
    runs, notes = unrepeated(runs)
    rows = [Seeds.of(entry, options.best_by) for entry in entries(runs)]
    attacks = options.attacks or default_attacks(runs, published=options.published)
    titles = {attack: _title(attack, runs) for attack in attacks}
    natural = [row.measure(read_natural) for row in rows]
    robust = {attack: [row.measure(partial(read_attack, attack=attack)) for row in rows] for attack in attacks}
    footnotes = Footnotes()
    printed = [
        row.row([cell for part in parts for cell in part.cells(footnotes)], footnotes)
        for row, *parts in zip(rows, natural, *robust.values(), strict=True)
    ]
    if options.published:
        entry_list = [row.entry for row in rows]
        printed = with_published(entry_list, printed, partial(_published, attacks=attacks, footnotes=footnotes))
        notes += comparison_notes([entry for entry in entry_list if lines_for(entry, "natural", "none")])
    notes += sample_note("Natural", rows, natural)
    for attack, measured in robust.items():
        notes += (*_steps_note(attack, rows), *sample_note(titles[attack], rows, measured))
        notes += _missing(attack, [row for row, ends in zip(rows, measured, strict=True) if row.lacks(ends)])
    notes += imported_note(rows)
    columns = tuple(Column(group, end) for group in ("Natural", *titles.values()) for end in ENDS)
    return Table(
        "methods",
        caption(rows, f"Test accuracy in %, {spread_over_seeds(rows)}.", DIFF),
        "method",
        columns,
        tuple(printed),
        notes,
        footnotes.items(),
    )


def default_attacks(runs: Sequence[Run], *, published: bool) -> tuple[str, ...]:
    """The attack of the evaluation while training, and AutoAttack where a run or the paper has it."""
    wanted = published or any(AUTOATTACK in measured_attacks(run) for run in runs)
    return (RUN_ATTACK, AUTOATTACK) if wanted else (RUN_ATTACK,)


def imported_note(rows: Sequence[Seeds]) -> tuple[str, ...]:
    """A note on rows of weights that have one checkpoint alone."""
    names = [row.entry.label for row in rows if row.final_only]
    return (f"One checkpoint alone, so there is no best and no diff: {', '.join(names)}.",) if names else ()


def _title(attack: str, runs: Sequence[Run]) -> str:
    """Head of an attack's columns; that of the runs' own attacks says their steps where all have the same."""
    titles = attack_titles(attack, runs)
    if len(titles) == 1:
        return titles[0]
    return "PGD" if all(PGD.fullmatch(own_attack(run)) for run in runs) else "own attack"


def _steps_note(attack: str, rows: Sequence[Seeds]) -> tuple[str, ...]:
    """Which rows have which attack, where their own ones differ."""
    labels = labels_by((attack_title(own_attack(row.entry.runs[0])), row) for row in rows)
    return (f"The attacks differ: {row_by_row(labels)}.",) if attack == RUN_ATTACK and len(labels) > 1 else ()


def _missing(attack: str, missing: Sequence[Seeds]) -> tuple[str, ...]:
    """How to measure an attack where it is missing."""
    names = {own_attack(run) if attack == RUN_ATTACK else attack for row in missing for run in row.entry.runs}
    commands = {name: f"overfit-lab evaluate RUN --attack {name} {checkpoints(missing)}" for name in sorted(names)}
    return tuple(
        f"– under {attack_title(name)}: not measured; `{command}` does it." for name, command in commands.items()
    )


def _published(entry: Entry, *, attacks: Sequence[str], footnotes: Footnotes) -> Row | None:
    """The paper's row for ours; a footnote says where its PGD-20 stands in the column of another attack."""
    parts = [lines_for(entry, "natural", "none")]
    parts += [lines_for(entry, "robust", THEIR_ATTACK if attack == RUN_ATTACK else attack) for attack in attacks]
    if not any(parts):
        return None
    cells = [cell for lines in parts for cell in printed_cells(lines, footnotes)]
    differs = RUN_ATTACK in attacks and any(own_attack(run) != THEIR_ATTACK for run in entry.runs)
    mark = footnotes.mark(f"under {attack_title(THEIR_ATTACK)}, not under the attack of our rows") if differs else ""
    return Row(published_label(entry, [line.table for lines in parts for line in lines]), tuple(cells), mark=mark)


REGISTER = {"methods": methods}
