"""Tab. 4: SGLR over the label share r and the temperature."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from overfit_lab.errors import RunFolderError
from overfit_lab.records.experiments import unrepeated
from overfit_lab.records.reader import Run
from overfit_lab.records.summary import RAW
from overfit_lab.views.published.reader import ablation
from overfit_lab.views.tables.beside import THEIR_ATTACK, comparison_notes
from overfit_lab.views.tables.cells import shared_setting
from overfit_lab.views.tables.entries import Entry, entries
from overfit_lab.views.tables.options import TableOptions
from overfit_lab.views.tables.pivot import Read, final_cell, places, seeds_note, unfinished_note
from overfit_lab.views.tables.readings import RUN_ATTACK, attack_titles, check_attacks, read_attack, read_natural
from overfit_lab.views.tables.table import EMPTY, PUBLISHED, Cell, Column, Row, Table

AXES = ("labels.r", "labels.temperature", "labels.preset")
"""Settings that rows and columns are of; the preset is only where options that were not given came from."""

THEIR_METHOD = "pgd-at+sglr"
HARD_AT_ZERO = (
    "At r = 0 the target is the hard label whatever T is, so numbers of that row are of the same training; "
    "where they differ, as the paper's do, it is by chance. The attack of Tab. 4 is taken to be PGD-20."
)


def constants(runs: Sequence[Run], options: TableOptions) -> Table:
    """Final natural and robust test accuracy of SGLR, a row for each r and a column for each temperature (Tab. 4).

    Grids that differ in anything else stand in sections of their own. Weights that a regularizer keeps beside the raw
    ones are left out.

    Raises:
        RunFolderError: a run of another label mode, or without evaluation.
        ConfigError: an option that has no meaning here.
    """
    options.need_default("constants", "least_drop", "best_by")
    check_attacks(options.attacks, runs)
    for run in runs:
        if run.config.is_monitored:
            raise RunFolderError(
                f"{run.folder}: a monitored run, whose labels are not known; table 'constants' is of sglr"
            )
        if run.config.labels.name != "sglr":
            raise RunFolderError(f"{run.folder}: label mode {run.config.labels.name!r}, table 'constants' is of sglr")
    runs, notes = unrepeated(runs)
    grids = [entry for entry in entries(runs, AXES) if entry.weights == RAW]
    attacks = options.attacks or (RUN_ATTACK,)
    quantities: dict[str, Read] = {"Natural": read_natural}
    quantities |= {_title(attack, runs): partial(read_attack, attack=attack) for attack in attacks}
    theirs_too = {t for _, t in ablation()} if options.published else set()
    temperatures = sorted({_constants(run)[1] for run in runs} | theirs_too)
    rows: list[Row] = []
    for entry in grids:
        section = " – ".join(dict.fromkeys([entry.section, entry.label])) if len(grids) > 1 else ""
        for r in sorted({_constants(run)[0] for run in entry.runs}):
            rows.append(_row(entry, r, temperatures, list(quantities.values()), section))
            theirs = _published(r, temperatures, attacks) if entry.key == THEIR_METHOD and options.published else None
            rows += [Row(f"r = {r:g}, published (Tab. 4)", theirs, section, PUBLISHED)] if theirs else []
    columns = tuple(Column(name, f"T = {t:g}") for name in quantities for t in temperatures)
    notes += _comparison(grids) if options.published else ()
    notes += unfinished_note(runs)
    return Table("constants", _caption(grids, rows), "r", columns, tuple(rows), notes)


def _row(entry: Entry, r: float, temperatures: Sequence[float], quantities: Sequence[Read], section: str) -> Row:
    """Our row for some r: each quantity over all temperatures."""
    by_place = places(entry, _constants)
    by_temperature = {t: by_place.get((r, t), []) for t in temperatures}
    cells = [final_cell(by_temperature[t], entry.weights, read) for read in quantities for t in temperatures]
    seeds = {len(members) for members in by_temperature.values() if members}
    return Row(f"r = {r:g}", tuple(cells), section, seeds=seeds.pop() if len(seeds) == 1 else None)


def _caption(grids: Sequence[Entry], rows: Sequence[Row]) -> tuple[str, ...]:
    names = " / ".join(dict.fromkeys(entry.method for entry in grids))
    cells = [cell for row in rows if row.source != PUBLISHED for cell in row.cells]
    accuracy = f"{names} over r and the temperature T: test accuracy in % at the last epoch, {seeds_note(cells)}."
    return tuple(filter(None, (accuracy, shared_setting(grids))))


def _constants(run: Run) -> tuple[float, float]:
    """The run's r and temperature."""
    options = run.config.labels.options
    return float(options["r"]), float(options["temperature"])


def _title(attack: str, runs: Sequence[Run]) -> str:
    return f"Robust ({' / '.join(attack_titles(attack, runs))})"


def _published(r: float, temperatures: Sequence[float], attacks: Sequence[str]) -> tuple[Cell, ...] | None:
    """The paper's row for some r; its robust accuracy in the columns of PGD-20 or of the runs' own attack."""
    pairs = [ablation().get((r, t)) for t in temperatures]
    if not any(pairs):
        return None
    which = [0, *(1 if attack in (RUN_ATTACK, THEIR_ATTACK) else None for attack in attacks)]
    return tuple(EMPTY if pair is None or i is None else Cell(pair[i], digits=1) for i in which for pair in pairs)


def _comparison(grids: Sequence[Entry]) -> tuple[str, ...]:
    matched = [entry for entry in grids if entry.key == THEIR_METHOD]
    return (*comparison_notes(matched)[:-1], HARD_AT_ZERO) if matched else comparison_notes(matched)


REGISTER = {"constants": constants}
