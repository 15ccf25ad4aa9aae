"""`overfit-lab train` with ``--grid`` or ``--seeds``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from overfit_lab.config import RunConfig
from overfit_lab.errors import ConfigError, Interrupted

WIDEST_TABLE = 5


def train_grid(
    config: RunConfig,
    grid: Sequence[str],
    seeds: int,
    out: Path | None,
    *,
    jobs: int | None,
    resume: bool,
    device: str,
    sinks: Sequence[str] = (),
) -> None:
    """Train a grid; print the table of its completed cells and a line for each that failed.

    Raises:
        ConfigError: a wrong option, axis or cell.
        RunFolderError: the folder is occupied, or holds another grid.
        typer.Exit: 1 when a cell failed.
        Interrupted: it was stopped.
    """
    for name, number in (("--seeds", seeds), ("--jobs", jobs)):
        if number is not None and number < 1:
            raise ConfigError(f"{name} {number}: expected 1 or more")
    from overfit_lab.sweeps.axes import parse_axes

    axes = parse_axes(grid)
    from overfit_lab.cli.jobs import GridProgress
    from overfit_lab.sweeps.grid import MANIFEST, run_grid

    folder = out if out is not None else Path("runs") / f"{config.name}-grid"
    numbers = range(config.seed, config.seed + seeds)
    try:
        result = run_grid(
            config, axes, numbers, folder, jobs=jobs, resume=resume, device=device, sinks=sinks, watch=GridProgress
        )
    except KeyboardInterrupt:
        if not (folder / MANIFEST).is_file():
            raise
        raise Interrupted(f"the same command with --resume goes on in {folder}") from None
    _print_table(result.completed)
    typer.echo(f"completed: {len(result.completed)} of {len(result.cells)} cells in {folder}")
    for name, reason in result.failures.items():
        again = "the same command with --resume tries it again"
        typer.echo(f"overfit-lab: cell {name} failed: {reason}; {again}", err=True)
    if result.failures:
        raise typer.Exit(1)


def _print_table(folders: Sequence[Path]) -> None:
    """Best, final and diff of runs; many of them as a line each."""
    from overfit_lab.records.reader import find_runs
    from overfit_lab.records.summary import compare
    from overfit_lab.views.tables.compare import format_table

    if folders:
        table = compare(find_runs(folders))
        typer.echo(format_table(table, "table" if len(table) <= WIDEST_TABLE else "markdown"))
