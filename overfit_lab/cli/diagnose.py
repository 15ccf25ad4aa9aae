"""`overfit-lab diagnose`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def diagnose(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of run folders.", metavar="RUN...")],
    style: Annotated[
        str | None, typer.Option("--format", help="text, json or markdown; default by --out's suffix, else text.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write: .txt, .md or .json; default: print.")
    ] = None,
) -> None:
    """Say in words, with numbers, whether and when runs overfit robustly, what goes with it, what helped, what next.

    Records are read and no model is run. Overfitting is an answer, not an error: the exit status is 0.
    """
    from overfit_lab.records.files import check_file, format_of, write_text
    from overfit_lab.records.reader import find_runs
    from overfit_lab.views.diagnosis.diagnose import diagnose as find_out
    from overfit_lab.views.diagnosis.writing import FORMATS, SUFFIXES

    to_text = FORMATS[format_of(style, out, FORMATS, SUFFIXES)]
    if out is not None:
        check_file(out)
    text = to_text(find_out(find_runs(runs)))
    if out is None:
        typer.echo(text.rstrip("\n"))
    else:
        write_text(text, out)
        typer.echo(str(out))
