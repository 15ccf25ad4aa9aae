"""`overfit-lab compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of run folders.", metavar="RUN...")],
    style: Annotated[str, typer.Option("--format", help="table, markdown, latex, csv or json.")] = "table",
) -> None:
    """Print best, final and diff of runs; runs that differ in the seed alone as mean ± standard deviation."""
    from overfit_lab.errors import ConfigError
    from overfit_lab.records import summary
    from overfit_lab.records.reader import find_runs

    if style not in summary.FORMATS:
        raise ConfigError(f"--format {style!r}: expected one of {', '.join(summary.FORMATS)}")
    typer.echo(summary.format_table(summary.compare(find_runs(runs)), style).rstrip("\n"))
