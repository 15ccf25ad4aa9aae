"""`overfit-lab table` and `overfit-lab compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from overfit_lab.cli.source import LEAST_DROP, LeastDropOption, RunsArgument


def table(
    runs: RunsArgument,
    kind: Annotated[str, typer.Option("--kind", help="The table; see `overfit-lab list tables`.")] = "methods",
    style: Annotated[
        str | None, typer.Option("--format", help="table, markdown, latex, csv or json; default by --out's suffix.")
    ] = None,
    best_by: Annotated[
        str, typer.Option("--best-by", help="Split that chooses the best checkpoint: auto (val, else test), val, test.")
    ] = "auto",
    attack: Annotated[
        str | None, typer.Option("--attack", help="Attacks of the columns, comma-separated: pgd-20,autoattack.")
    ] = None,
    published: Annotated[bool, typer.Option("--published", help="Set the paper's figures beside ours.")] = False,
    least_drop: LeastDropOption = LEAST_DROP,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write: .txt, .md, .tex, .csv or .json; default: print.")
    ] = None,
) -> None:
    """Print a table as papers do: best, final and diff over seeds, the published figures beside it on request."""
    from overfit_lab.cli.console import write_or_print, writer_for
    from overfit_lab.config.catalog import TABLES
    from overfit_lab.errors import ConfigError
    from overfit_lab.records.reader import find_runs
    from overfit_lab.views.tables.options import TableOptions
    from overfit_lab.views.tables.writing import FORMATS, SUFFIXES

    build = TABLES[kind]
    to_text = writer_for(style, out, FORMATS, SUFFIXES)
    attacks = tuple(name.strip() for name in attack.split(",")) if attack is not None else ()
    if "" in attacks:
        raise ConfigError(f"--attack {attack!r}: expected names of attacks between commas, such as pgd-20,autoattack")
    options = TableOptions(best_by, attacks, published, least_drop)
    write_or_print(to_text(build(find_runs(runs), options)), out)


def compare(
    runs: RunsArgument,
    style: Annotated[str, typer.Option("--format", help="table, markdown, latex, csv or json.")] = "table",
) -> None:
    """Print best, final and diff of runs; runs that differ in the seed alone as mean ± standard deviation."""
    table(runs, kind="compare", style=style)
