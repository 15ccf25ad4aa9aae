"""`overfit-lab report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from overfit_lab.cli.source import LEAST_DROP, LeastDropOption, RunsArgument
from overfit_lab.files.terminal import say


def report(
    runs: RunsArgument,
    out: Annotated[Path, typer.Option("-o", "--out", help="The HTML file to write.")] = Path("report.html"),
    least_drop: LeastDropOption = LEAST_DROP,
    title: Annotated[str | None, typer.Option("--title", help="Heading of the page.")] = None,
) -> None:
    """Write one self-contained HTML page: diagnosis, tables, curves, figures, maps epoch by epoch, configurations."""
    from overfit_lab.files.writing import check_file, write_text
    from overfit_lab.records.reader import find_runs
    from overfit_lab.views.report.page import DEFAULT_TITLE, make_report

    check_file(out)
    text = make_report(find_runs(runs), DEFAULT_TITLE if title is None else title, least_drop / 100)
    write_text(text, out)
    say(f"{out} ({out.stat().st_size / 1e6:.1f} MB)")
