"""`overfit-lab figure`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from overfit_lab.cli.source import LEAST_DROP, LeastDropOption, RunsArgument
from overfit_lab.files.terminal import say


def figure(
    name: Annotated[str, typer.Argument(help="The figure; see `overfit-lab list figures`.")],
    runs: RunsArgument,
    out: Annotated[
        Path | None, typer.Option("--out", help="File ending in .png, .pdf or .svg; default NAME.png.")
    ] = None,
    least_drop: LeastDropOption = LEAST_DROP,
) -> None:
    """Draw a figure from the records of runs."""
    from overfit_lab.views.diagnosis.finding import check_threshold
    from overfit_lab.views.diagnosis.phases_of import counting_from

    check_threshold(least_drop / 100)
    from overfit_lab.config.catalog import FIGURES
    from overfit_lab.records.reader import find_runs
    from overfit_lab.views.figures.style import check_path, save

    draw = FIGURES[name]
    path = out if out is not None else Path(f"{name.rpartition(':')[2]}.png")
    check_path(path)
    with counting_from(least_drop / 100):
        drawn = draw(find_runs(runs))
    save(drawn, path)
    say(str(path))
