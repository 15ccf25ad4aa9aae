"""Tab. B.3: what each method has left under images that were found on other networks."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import partial

from overfit_lab.errors import RunFolderError
from overfit_lab.records.naming import MODELS
from overfit_lab.records.reader import Run
from overfit_lab.views.published.reader import printed
from overfit_lab.views.tables.beside import comparison_notes, lines_for, printed_cells, published_label, with_published
from overfit_lab.views.tables.cells import Measured, Seeds, sample_note
from overfit_lab.views.tables.entries import Entry, entries, unrepeated
from overfit_lab.views.tables.methods import ENDS, caption, imported_note
from overfit_lab.views.tables.options import TableOptions
from overfit_lab.views.tables.readings import Reading, has_evaluation, read
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

    Args:
        runs: the runs that were attacked, of any methods.
        options: see there; no attacks, since columns are by source.

    Raises:
        RunFolderError: no run was attacked from another network, or one holds nothing to read.
        ConfigError: an option that has no meaning here.
    """
    options.need_default("transfer", "attacks")
    kept, notes = unrepeated(runs)
    rows = [Seeds.of(entry, options.best_by) for entry in entries(kept)]
    sources = sources_of(kept)
    if not sources.attacks:
        raise RunFolderError(
            f"{kept[0].folder if len(kept) == 1 else f'{len(kept)} runs'}: no transfer attack in the records; "
            "`overfit-lab evaluate RUN --attack transfer --source OTHER --checkpoint best,final` measures one"
        )
    measured = {
        s: [row.measure(partial(read_transfer, sources=sources, source=s)) for row in rows] for s in sources.all()
    }
    theirs = their_columns() if options.published else {}
    footnotes = Footnotes()
    shown: list[Row] = []
    for row, *parts in zip(rows, *measured.values(), strict=True):
        cells = [cell for part in parts for cell in part.cells(footnotes)]
        shown.append(row.row([*cells, *[EMPTY] * (len(ENDS) * len(theirs))], footnotes))
    if options.published:
        found = [row.entry for row in rows]
        shown = with_published(found, shown, partial(_published, n_ours=len(measured), footnotes=footnotes))
        notes += _comparison([entry for entry in found if _lines(entry)])
    for source, parts_of in measured.items():
        together = list(zip(rows, parts_of, strict=True))
        notes += (*sample_note(source.title, together), *_missing(source, together))
    notes += (*_several(kept, sources), *imported_note(rows))
    columns = tuple(Column(group, end) for group in (*[s.title for s in measured], *theirs.values()) for end in ENDS)
    what, *rest = caption(rows)
    what = what.replace("Test accuracy in %", "Test accuracy in % under attacks on other networks")
    return Table("transfer", (what, *rest), "method", columns, tuple(shown), notes, footnotes.items())


def read_transfer(run: Run, epoch: int | None, weights: str, sources: Sources, source: Source) -> Reading:
    """Test accuracy under images of a source at one epoch: the mean over the source's runs that attacked."""
    attacks = sources.of(run, source)
    found = [read(run, epoch, weights, "robustness", f"acc_adv/{attack}", "adversarial") for attack in attacks]
    values = [reading.value for reading in found if reading.value is not None]
    return Reading(math.fsum(values) / len(values), min(r.n for r in found if r.n)) if values else Reading()


def their_columns() -> dict[str, str]:
    """The columns of Tab. B.3: as the copied figures name them, and in words."""
    found: dict[str, str] = {}
    for line in printed():
        parts = THEIRS.fullmatch(line.attack) if line.metric == METRIC else None
        if parts is not None:
            attack = f", {parts['attack'].upper()}" if parts["attack"] else ""
            name = MODELS[parts["source"]]
            found[line.attack] = f"from {name} (the paper's column {parts['column']}{attack})"
    return found


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
    what = "The paper's sources are other networks than ours; how they were trained, and the attack of its column 1, "
    return (*notes, what + "the copied figures do not say.") if matched else notes


def _missing(source: Source, rows: Sequence[tuple[Seeds, Measured]]) -> tuple[str, ...]:
    """How to get the numbers of a source that are not there."""
    missing = [row for row, m in rows if m.missing_final or (m.missing_best and not row.final_only)]
    if not missing:
        return ()
    trained = any(has_evaluation(run) for row in missing for run in row.entry.runs)
    checkpoints = "best,final" if trained else "final"
    command = f"overfit-lab evaluate RUN --attack transfer --source OTHER --checkpoint {checkpoints}"
    return (f"– {source.title}: not measured; `{command}` does it.",)


def _several(runs: Sequence[Run], sources: Sources) -> tuple[str, ...]:
    """A note on sources of which more than one run attacked a target."""
    told = []
    for source in sources.all():
        most = max(len(sources.of(run, source)) for run in runs)
        if most > 1:
            told.append(f"{source.title}: the mean over up to {most} runs of the source for each target.")
    return tuple(told)


REGISTER = {"transfer": transfer}
