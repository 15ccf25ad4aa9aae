"""Tabs. 2, 3 and B.4: what each method has at its best and its final checkpoint, and what it lost between them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

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
    Measured,
    Seeds,
    chosen_on,
    row_by_row,
    sample_note,
    shared_setting,
    spread_over_seeds,
)
from overfit_lab.views.tables.entries import Entry, entries, unrepeated
from overfit_lab.views.tables.options import TableOptions
from overfit_lab.views.tables.readings import (
    OWN,
    attack_titles,
    check_attacks,
    has_evaluation,
    measured_attacks,
    own_attack,
    read_attack,
    read_natural,
)
from overfit_lab.views.tables.table import Column, Footnotes, Row, Table

ENDS = ("best", "final", "diff")
AUTOATTACK = "autoattack"


def methods(runs: Sequence[Run], options: TableOptions) -> Table:
    """Natural and robust test accuracy of each method at best and final, and the difference (Tabs. 2, 3, B.4).

    One row a method and set of weights, mean and sample standard deviation over seeds. All numbers of a row and seed
    are read at the same best epoch; diff is best - final seed by seed. Runs of different data, models or threat models
    stand in sections of their own, so that one call may print all of them and none are averaged.

    Args:
        runs: runs of any methods.
        options: see there.

    Raises:
        RunFolderError: a run holds no evaluation, or none on the split that is to choose.
        ConfigError: an unknown attack.
    """
    check_attacks(options.attacks, runs)
    kept, notes = unrepeated(runs)
    rows = [Seeds.of(entry, options.best_by) for entry in entries(kept)]
    attacks = options.attacks or default_attacks(kept, published=options.published)
    titles = {attack: _title(attack, kept) for attack in attacks}
    natural = [row.measure(read_natural) for row in rows]
    robust = {attack: [row.measure(partial(read_attack, attack=attack)) for row in rows] for attack in attacks}
    footnotes = Footnotes()
    printed: list[Row] = []
    for row, *parts in zip(rows, natural, *robust.values(), strict=True):
        printed.append(row.row([cell for part in parts for cell in part.cells(footnotes)], footnotes))
    if options.published:
        found = [row.entry for row in rows]
        printed = with_published(found, printed, partial(_published, attacks=attacks, footnotes=footnotes))
        notes += comparison_notes([entry for entry in found if lines_for(entry, "natural", "none")])
    notes += sample_note("Natural", list(zip(rows, natural, strict=True)))
    for attack, measured in robust.items():
        together = list(zip(rows, measured, strict=True))
        notes += (*_steps_note(attack, rows), *sample_note(titles[attack], together), *_missing(attack, together))
    notes += imported_note(rows)
    columns = tuple(Column(group, end) for group in ("Natural", *titles.values()) for end in ENDS)
    return Table("methods", caption(rows), "method", columns, tuple(printed), notes, footnotes.items())


def caption(rows: Sequence[Seeds]) -> tuple[str, ...]:
    """What the numbers are, how the best was chosen, and the setting where all rows share it."""
    what = f"Test accuracy in %, {spread_over_seeds(rows)}."
    ends = "Final: the last epoch; diff: best - final, seed by seed."
    setting = shared_setting([row.entry for row in rows])
    return tuple(text for text in (what, chosen_on(rows), ends, setting) if text)


def default_attacks(runs: Sequence[Run], *, published: bool) -> tuple[str, ...]:
    """The attack of the evaluation while training, and AutoAttack where a run or the paper has it."""
    wanted = published or any(AUTOATTACK in measured_attacks(run) for run in runs)
    return (OWN, AUTOATTACK) if wanted else (OWN,)


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
    found: dict[str, list[str]] = {}
    for row in rows:
        names = found.setdefault(own_attack(row.entry.runs[0]), [])
        if row.entry.label not in names:
            names.append(row.entry.label)
    if attack != OWN or len(found) == 1:
        return ()
    told = row_by_row({attack_title(name): labels for name, labels in found.items()})
    return (f"The attacks differ: {told}.",)


def _missing(attack: str, rows: Sequence[tuple[Seeds, Measured]]) -> tuple[str, ...]:
    """How to get the numbers of an attack that are not there."""
    missing = [row for row, m in rows if m.missing_final or (m.missing_best and not row.final_only)]
    if not missing:
        return ()
    names = sorted({own_attack(run) for row in missing for run in row.entry.runs}) if attack == OWN else [attack]
    trained = any(has_evaluation(run) for row in missing for run in row.entry.runs)
    checkpoints = "best,final" if trained else "final"
    commands = {name: f"overfit-lab evaluate RUN --attack {name} --checkpoint {checkpoints}" for name in names}
    return tuple(
        f"– under {attack_title(name)}: not measured; `{command}` does it." for name, command in commands.items()
    )


def _published(entry: Entry, *, attacks: Sequence[str], footnotes: Footnotes) -> Row | None:
    """The paper's row for ours; a footnote says where its PGD-20 stands in the column of another attack."""
    parts = [lines_for(entry, "natural", "none")]
    parts += [lines_for(entry, "robust", THEIR_ATTACK if attack == OWN else attack) for attack in attacks]
    if not any(parts):
        return None
    cells = [cell for lines in parts for cell in printed_cells(lines, footnotes)]
    differs = OWN in attacks and any(own_attack(run) != THEIR_ATTACK for run in entry.runs)
    mark = footnotes.mark(f"under {attack_title(THEIR_ATTACK)}, not under the attack of our rows") if differs else ""
    return Row(published_label(entry, [line.table for lines in parts for line in lines]), tuple(cells), mark=mark)


REGISTER = {"methods": methods}
