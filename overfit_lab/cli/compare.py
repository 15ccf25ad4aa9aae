"""`overfit-lab compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from overfit_lab.cli.table import table


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of run folders.", metavar="RUN...")],
    style: Annotated[str, typer.Option("--format", help="table, markdown, latex, csv or json.")] = "table",
) -> None:
    """Print best, final and diff of runs; runs that differ in the seed alone as mean ± standard deviation."""
    table(runs, kind="compare", style=style)
