"""`overfit-lab diagnose`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from overfit_lab.cli.source import LEAST_DROP, LeastDropOption, RunsArgument


def diagnose(
    runs: RunsArgument,
    style: Annotated[
        str | None, typer.Option("--format", help="text, json or markdown; default by --out's suffix, else text.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write: .txt, .md or .json; default: print.")
    ] = None,
    least_drop: LeastDropOption = LEAST_DROP,
) -> None:
    """Say in words, with numbers, whether and when runs overfit robustly, what goes with it, what helped, what next.

    Records are read and no model is run. Overfitting is an answer, not an error: the exit status is 0.
    """
    from overfit_lab.cli.console import write_or_print, writer_for
    from overfit_lab.records.reader import find_runs
    from overfit_lab.views.diagnosis import diagnose as diagnosing
    from overfit_lab.views.diagnosis.writing import FORMATS, SUFFIXES

    to_text = writer_for(style, out, FORMATS, SUFFIXES)
    write_or_print(to_text(diagnosing.diagnose(find_runs(runs), least_drop / 100)), out)
