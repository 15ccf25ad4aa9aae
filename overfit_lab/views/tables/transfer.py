"""Tab. B.3: what each method has left under images that were found on other networks."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import partial

from overfit_lab.errors import RunFolderError
from overfit_lab.records.experiments import unrepeated
from overfit_lab.records.naming import MODELS
from overfit_lab.records.reader import Run
from overfit_lab.views.published.reader import printed
from overfit_lab.views.tables.beside import comparison_notes, lines_for, printed_cells, published_label, with_published
from overfit_lab.views.tables.cells import Seeds, caption, checkpoints, sample_note, spread_over_seeds
from overfit_lab.views.tables.entries import Entry, entries
from overfit_lab.views.tables.methods import DIFF, ENDS, imported_note
from overfit_lab.views.tables.options import TableOptions
from overfit_lab.views.tables.readings import Reading, read
from overfit_lab.views.tables.sources import Source, Sources, sources_of
from overfit_lab.views.tables.table import EMPTY, Column, Footnotes, Row, Table

METRIC = "transfer"
THEIRS = re.compile(r"(?P<source>\w+)->\w+ column (?P<column>\d)(?: \((?P<attack>[\w-]+)\))?")
"""How the copied figures name a column of Tab. B.3."""


def transfer(runs: Sequence[Run], options: TableOptions) -> Table:
    """Test accuracy in percent under transfer attacks at best and final, and the difference (Tab. B.3).

    A group of columns a source: the network that images were found on, by the name of its runs without the seed, with
    its architecture and training where the outcomes beside the records say so. Rows, epochs and diff are as in the
    table of methods. Where several runs of one source attacked a target, the target counts with their mean.

    Raises:
        RunFolderError: no run was attacked from another network, or one holds nothing to read.
        ConfigError: an option that has no meaning here.
    """
    options.need_default("transfer", "least_drop", "attacks")
    runs, notes = unrepeated(runs)
    rows = [Seeds.of(entry, options.best_by) for entry in entries(runs)]
    sources = sources_of(runs)
    if not sources.attacks:
        raise RunFolderError(
            f"{runs[0].folder if len(runs) == 1 else f'{len(runs)} runs'}: no transfer attack in the records; "
            "`overfit-lab evaluate RUN --attack transfer --source OTHER --checkpoint best,final` measures one"
        )
    measured = {
        s: [row.measure(partial(read_transfer, sources=sources, source=s)) for row in rows] for s in sources.all()
    }
    theirs = their_columns() if options.published else {}
    footnotes = Footnotes()
    shown: list[Row] = []
    for row, *quantities in zip(rows, *measured.values(), strict=True):
        cells = [cell for quantity in quantities for cell in quantity.cells(footnotes)]
        shown.append(row.row([*cells, *[EMPTY] * (len(ENDS) * len(theirs))], footnotes))
    if options.published:
        entry_list = [row.entry for row in rows]
        shown = with_published(entry_list, shown, partial(_published, n_ours=len(measured), footnotes=footnotes))
        notes += _comparison([entry for entry in entry_list if _lines(entry)])
    for source, parts in measured.items():
        notes += sample_note(source.title, rows, parts)
        notes += _missing(source, [row for row, ends in zip(rows, parts, strict=True) if row.lacks(ends)])
    notes += (*_several(runs, sources), *imported_note(rows))
    columns = tuple(Column(group, end) for group in (*[s.title for s in measured], *theirs.values()) for end in ENDS)
    text = caption(rows, f"Test accuracy in % under attacks on other networks, {spread_over_seeds(rows)}.", DIFF)
    return Table("transfer", text, "method", columns, tuple(shown), notes, footnotes.items())


def read_transfer(run: Run, epoch: int | None, weights: str, sources: Sources, source: Source) -> Reading:
    """Test accuracy under images of a source at one epoch: the mean over the source's runs that attacked."""
    attacks = sources.of(run, source)
    readings = [read(run, epoch, weights, "robustness", f"acc_adv/{attack}", "adversarial") for attack in attacks]
    values = [reading.value for reading in readings if reading.value is not None]
    return Reading(math.fsum(values) / len(values), min(r.n for r in readings if r.n)) if values else Reading()


def their_columns() -> dict[str, str]:
    """The columns of Tab. B.3: as the copied figures name them, and in words."""
    titles: dict[str, str] = {}
    for line in printed():
        parts = THEIRS.fullmatch(line.attack) if line.metric == METRIC else None
        if parts is not None:
            attack = f", {parts['attack'].upper()}" if parts["attack"] else ""
            name = MODELS[parts["source"]]
            titles[line.attack] = f"from {name} (the paper's column {parts['column']}{attack})"
    return titles


def _lines(entry: Entry) -> list[str]:
    """The paper's tables that have a number for a row."""
    return [line.table for attack in their_columns() for line in lines_for(entry, METRIC, attack)]


def _published(entry: Entry, *, n_ours: int, footnotes: Footnotes) -> Row | None:
    """The paper's row for ours: its sources are other networks, so its numbers stand in columns of their own."""
    names = _lines(entry)
    if not names:
        return None
    cells = [EMPTY] * (len(ENDS) * n_ours)
    for attack in their_columns():
        cells += printed_cells(lines_for(entry, METRIC, attack), footnotes)
    return Row(published_label(entry, names), tuple(cells))


def _comparison(matched: Sequence[Entry]) -> tuple[str, ...]:
    notes = comparison_notes(matched)
    sources = (
        "The paper's sources are other networks than ours; how they were trained, and the attack of its column 1, "
    )
    return (*notes, f"{sources}the copied figures do not say.") if matched else notes


def _missing(source: Source, missing: Sequence[Seeds]) -> tuple[str, ...]:
    """How to measure a source where it is missing."""
    command = f"overfit-lab evaluate RUN --attack transfer --source OTHER {checkpoints(missing)}"
    return (f"– {source.title}: not measured; `{command}` does it.",) if missing else ()


def _several(runs: Sequence[Run], sources: Sources) -> tuple[str, ...]:
    """A note on sources of which more than one run attacked a target."""
    counts = {source.title: max(len(sources.of(run, source)) for run in runs) for source in sources.all()}
    return tuple(
        f"{title}: the mean over up to {most} runs of the source for each target."
        for title, most in counts.items()
        if most > 1
    )


REGISTER = {"transfer": transfer}
