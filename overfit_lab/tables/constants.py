"""Tab. 4: SGLR over the label share r and the temperature."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from overfit_lab.errors import RunFolderError
from overfit_lab.published.reader import CITATION, ablation
from overfit_lab.runs.reader import Run
from overfit_lab.tables.beside import comparison_notes
from overfit_lab.tables.cells import shared_setting
from overfit_lab.tables.entries import Entry, entries, unrepeated
from overfit_lab.tables.options import TableOptions
from overfit_lab.tables.pivot import Read, final_cell, places, seeds_note, unfinished_note
from overfit_lab.tables.readings import OWN, attack_title, check_attacks, own_attack, read_attack, read_natural
from overfit_lab.tables.table import EMPTY, PUBLISHED, Cell, Column, Row, Table

AXES = ("labels.r", "labels.temperature", "labels.preset")
"""Settings that rows and columns are of; the preset is only where options that were not given came from."""


def constants(runs: Sequence[Run], options: TableOptions) -> Table:
    """Final natural and robust test accuracy of SGLR, a row for each r and a column for each temperature (Tab. 4).

    Grids that differ in anything else stand in sections of their own.

    Args:
        runs: runs with SGLR; weights that a regularizer keeps beside the raw ones are left out.
        options: see there; at most one attack.

    Raises:
        RunFolderError: a run of another label mode, or without evaluation.
        ConfigError: an option that has no meaning here.
    """
    options.need_default("constants", "best_by")
    check_attacks(options.attacks, runs)
    for run in runs:
        if run.config.labels.name != "sglr":
            raise RunFolderError(f"{run.folder}: label mode {run.config.labels.name!r}, table 'constants' is of sglr")
    kept, notes = unrepeated(runs)
    grids = [entry for entry in entries(kept, AXES) if entry.weights == "raw"]
    wanted = options.attacks or (OWN,)
    quantities: dict[str, Read] = {"Natural": read_natural}
    quantities |= {_title(attack, kept): partial(read_attack, attack=attack) for attack in wanted}
    theirs_too = {t for _, t in ablation()} if options.published else set()
    temperatures = sorted({_constants(run)[1] for run in kept} | theirs_too)
    rows: list[Row] = []
    for entry in grids:
        section = " – ".join(dict.fromkeys([entry.section, entry.label])) if len(grids) > 1 else ""
        by_place = places(entry, _constants)
        for r in sorted({r for r, _ in by_place}):
            here = {t: by_place.get((r, t), []) for t in temperatures}
            cells = [final_cell(here[t], entry.weights, read) for read in quantities.values() for t in temperatures]
            seeds = {len(members) for members in here.values() if members}
            rows.append(Row(f"r = {r:g}", tuple(cells), section, seeds=seeds.pop() if len(seeds) == 1 else None))
            if options.published and (theirs := _published(r, temperatures, list(quantities))):
                rows.append(Row(f"r = {r:g}, published (Tab. 4)", theirs, section, PUBLISHED))
    columns = tuple(Column(name, f"T = {t:g}") for name in quantities for t in temperatures)
    notes += _comparison(grids, kept) if options.published else ()
    notes += unfinished_note(kept)
    cells = [cell for row in rows if row.source != PUBLISHED for cell in row.cells]
    what = f"SGLR over r and the temperature T: test accuracy in % at the last epoch, {seeds_note(cells)}."
    setting = shared_setting(grids)
    return Table("constants", tuple(filter(None, (what, setting))), "r", columns, tuple(rows), notes)


def _constants(run: Run) -> tuple[float, float]:
    """The run's r and temperature."""
    options = run.config.labels.options
    return float(options["r"]), float(options["temperature"])


def _title(attack: str, runs: Sequence[Run]) -> str:
    names = [attack] if attack != OWN else sorted({own_attack(run) for run in runs})
    return f"Robust ({' / '.join(attack_title(name) for name in names)})"


def _published(r: float, temperatures: Sequence[float], names: Sequence[str]) -> tuple[Cell, ...] | None:
    """The paper's row for some r; its robust accuracy in the first column group after the natural one."""
    found = [ablation().get((r, t)) for t in temperatures]
    if not any(found):
        return None
    cells = [EMPTY if pair is None else Cell(pair[i], digits=1) for i in (0, 1) for pair in found]
    return (*cells, *[EMPTY] * (len(temperatures) * (len(names) - 2)))


def _comparison(grids: Sequence[Entry], runs: Sequence[Run]) -> tuple[str, ...]:
    one = [Entry(entry.section, entry.label, "pgd-at+sglr", entry.weights, entry.runs) for entry in grids]
    notes = comparison_notes(one)[:-1]
    return (*notes, f"At r = 0 the target is the hard label whatever T is. Source of Tab. 4: {CITATION}.")


REGISTER = {"constants": constants}
