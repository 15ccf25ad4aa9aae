"""`overfit-lab train` with ``--grid`` or ``--seeds``: a sweep on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from overfit_lab.cli.source import check_counts
from overfit_lab.config import RunConfig, to_dict
from overfit_lab.errors import RunFolderError
from overfit_lab.files.terminal import say_lines

if TYPE_CHECKING:
    from overfit_lab.sweeps.spec import SweepSpec

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
    """Train a grid as a sweep; print the table of its completed cells and how it ended.

    Raises:
        ConfigError: a wrong option, axis or cell.
        RunFolderError: the folder is occupied, or holds another sweep.
        typer.Exit: 1 when a cell failed.
        Interrupted: it was stopped.
    """
    spec = grid_spec(config, grid, seeds, jobs=jobs, device=device, sinks=sinks)
    folder = out if out is not None else Path("runs") / f"{config.name}-grid"
    from overfit_lab.cli.jobs import RunsProgress
    from overfit_lab.cli.sweep import resumable, tell
    from overfit_lab.cli.target import note
    from overfit_lab.sweeps.manifest import manifest_path, read_manifest
    from overfit_lab.sweeps.run import run_sweep

    if resume:
        read_manifest(folder)
    elif manifest_path(folder).is_file():
        raise RunFolderError(f"{folder}: already holds a sweep; go on with it by --resume, or choose another --out")
    with resumable(folder):
        result = run_sweep(spec, folder, watch=RunsProgress, on_note=note)
    _print_table(result.completed)
    tell(result)


def grid_spec(
    config: RunConfig,
    grid: Sequence[str],
    seeds: int,
    *,
    jobs: int | None = None,
    device: str = "auto",
    sinks: Sequence[str] = (),
) -> SweepSpec:
    """The sweep of ``--grid``, ``--seeds`` and the other options of `train`.

    Raises:
        ConfigError: a wrong option or axis.
    """
    from overfit_lab.sweeps.axes import parse_axes
    from overfit_lab.sweeps.spec import parse_spec

    check_counts(seeds=seeds, jobs=jobs)
    threads = 1
    if jobs == 1:  # one cell at a time takes torch's threads, so that it is as fast as a plain run and equal to it
        import torch

        threads = torch.get_num_threads()
    content = {
        "name": config.name,
        "base": to_dict(config),
        "grid": parse_axes(grid),
        "seeds": seeds,
        "jobs": jobs,
        "device": device,
        "log": list(sinks),
        "resources": {"cpus": threads},
    }
    return parse_spec(content, "--grid")


def _print_table(folders: Sequence[Path]) -> None:
    """Print best, final and diff; more than ``WIDEST_TABLE`` runs have a line each."""
    from overfit_lab.records.reader import find_runs
    from overfit_lab.records.summary import compare
    from overfit_lab.views.tables.compare import format_table

    if folders:
        table = compare(find_runs(folders))
        say_lines(format_table(table, "table" if len(table) <= WIDEST_TABLE else "markdown"))
