"""Grids: every combination of some settings, times seeds, each a run folder of its own, trained on this machine.

The folder of a grid holds ``grid.json``, which says what the grid is, and one run folder a cell.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overfit_lab.config import RunConfig, apply_settings, load_config, to_dict, to_yaml
from overfit_lab.errors import ConfigError, FolderBusyError, OverfitLabError, RunFolderError
from overfit_lab.processes.pool import Job, Report, Silent, Watcher, run_jobs, usable_cores
from overfit_lab.records import layout
from overfit_lab.records.files import write_bytes
from overfit_lab.records.sinks.mirror import make_sinks
from overfit_lab.records.status import mark_ended, status_of
from overfit_lab.records.writer import take_lock
from overfit_lab.sweeps.axes import Axes, name_cells
from overfit_lab.sweeps.cell import reporting, train_cell
from overfit_lab.training.build import complete, resolve_device

MANIFEST = "grid.json"


@dataclass(frozen=True)
class Cell:
    """One run of a grid.

    Args:
        name: of its folder.
        settings: the axes' keys and the values that this cell has of them, in the order in which they are applied.
        seed: of the run.
        config: complete.
    """

    name: str
    settings: dict[str, Any]
    seed: int
    config: RunConfig


@dataclass(frozen=True)
class GridResult:
    """How a grid ended.

    Args:
        folder: of the grid.
        cells: all of them, in order.
        failures: the reason in one line, by the names of the cells that failed.
    """

    folder: Path
    cells: list[Cell]
    failures: dict[str, str]

    @property
    def completed(self) -> list[Path]:
        """The run folders of the cells that are completed, in order."""
        return [self.folder / cell.name for cell in self.cells if cell.name not in self.failures]


def run_grid(
    config: RunConfig,
    axes: Axes,
    seeds: Sequence[int],
    folder: Path,
    *,
    jobs: int | None = None,
    resume: bool = False,
    device: str = "auto",
    sinks: Sequence[str] = (),
    watch: Callable[[int, int], AbstractContextManager[Watcher]] = lambda *_: nullcontext(Silent()),
) -> GridResult:
    """Train every cell of a grid, each in a process of its own; one that fails does not stop the others.

    A grid that was stopped or killed at any moment and is resumed has the records of an uninterrupted one. A cell has
    those of a plain run of its configuration (both to the bit on the CPU with the same number of threads: one in each
    process with ``jobs`` above 1, else torch's own number).

    Every configuration is checked before anything is written. A script that calls this guards its own beginning by
    ``if __name__ == "__main__":``, since processes are started afresh. The code that the configuration names is taken
    as the caller's own.

    Args:
        config: what the cells have in common.
        axes: keys and the values that each takes, such as ``{"labels.r": [0, 0.2]}``; applied in their order.
        seeds: every combination is trained with each.
        folder: of the grid; each cell is a run folder in it, named from its settings.
        jobs: cells at a time; by default one for each usable core, on a CUDA device one.
        resume: go on with the grid in the folder: pass over completed cells, resume those that were stopped or
            failed, begin the others.
        device: ``auto``, ``cpu`` or ``cuda``.
        sinks: names of what gets each cell's records too, such as ``["tensorboard"]``.
        watch: is called with the number of cells and that of those completed before; what it gives is told how the
            cells get on.

    Raises:
        ConfigError: an axis or the configuration of a cell is wrong; the message names the cell.
        RunFolderError: the folder is occupied or cannot be written to, or with ``resume`` holds another grid.
        KeyboardInterrupt: SIGINT or SIGTERM came; every cell was stopped and can be resumed.
    """
    if jobs is not None and jobs < 1:
        raise ConfigError(f"jobs {jobs}: expected 1 or more")
    make_sinks(sinks)
    cells = plan_grid(config, axes, seeds)
    if jobs is None:
        jobs = 1 if resolve_device(device).type == "cuda" else usable_cores()
    jobs = min(jobs, len(cells))
    with _open_grid(folder, _manifest(config, axes, seeds, cells), resume=resume):
        waiting = [cell for cell in cells if not _is_completed(cell, folder / cell.name)]
        with watch(len(cells), len(cells) - len(waiting)) as watcher:
            work = [
                Job(cell.name, _train_cell, (cell.config, folder / cell.name, device, tuple(sinks))) for cell in waiting
            ]
            try:
                failures = run_jobs(work, watcher, n_processes=jobs, n_threads=1 if jobs > 1 else None)
            except KeyboardInterrupt:
                for cell in waiting:
                    mark_ended(folder / cell.name, "interrupted")
                raise
        for name in failures:
            mark_ended(folder / name, "failed")
    return GridResult(folder, cells, failures)


def plan_grid(config: RunConfig, axes: Axes, seeds: Sequence[int]) -> list[Cell]:
    """The cells of a grid, their configurations checked and complete; the last axis and then the seed vary fastest.

    Raises:
        ConfigError: an axis without values, or the configuration of a cell is wrong or that of another cell again;
            the message names the cell.
    """
    for key, values in axes.items():
        if key == "seed":
            raise ConfigError("a grid's seeds are no axis; give their number by --seeds")
        if not values:
            raise ConfigError(f"axis {key}: expected one value or more")
    if not seeds:
        raise ConfigError("a grid needs one seed or more")
    cells: list[Cell] = []
    names: dict[str, str] = {}
    for name, settings, seed in name_cells(axes, seeds):
        try:
            own = complete(apply_settings(config, [*settings.items(), ("seed", seed)]))
        except OverfitLabError as error:
            raise ConfigError(f"cell {name}: {error}") from error
        text = to_yaml(own)
        if text in names:
            raise ConfigError(f"cell {name}: is the same run as cell {names[text]}; is a later axis undoing another?")
        names[text] = name
        cells.append(Cell(name, settings, seed, own))
    return cells


def _manifest(config: RunConfig, axes: Axes, seeds: Sequence[int], cells: Sequence[Cell]) -> dict[str, Any]:
    """What ``grid.json`` says."""
    return {
        "format": 1,
        "axes": {key: list(values) for key, values in axes.items()},
        "seeds": list(seeds),
        "config": to_dict(config),
        "cells": [{"folder": cell.name, "settings": cell.settings, "seed": cell.seed} for cell in cells],
    }


@contextmanager
def _open_grid(folder: Path, manifest: Mapping[str, Any], *, resume: bool) -> Iterator[None]:
    """Make the grid's folder, or see that it is the same grid; hold it for this process."""
    if resume:
        _check_same(folder, manifest)
    else:
        _check_vacant(folder)
        layout.check_writable(folder)
        folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = take_lock(folder)
    except FolderBusyError as error:
        raise FolderBusyError(f"{folder}: another process is running this grid") from error
    except OSError as error:
        raise RunFolderError(f"{folder}: cannot be written to ({error.strerror})") from error
    with lock:
        if not resume:
            write_bytes(folder / MANIFEST, (_to_json(manifest, indent=2) + "\n").encode())
        yield


def _check_vacant(folder: Path) -> None:
    if (folder / MANIFEST).is_file():
        raise RunFolderError(f"{folder}: already holds a grid; go on with it by --resume, or choose another --out")
    if folder.is_dir() and {path.name for path in folder.iterdir()} <= {".lock", f".{MANIFEST}.partial"}:
        return
    layout.check_vacant(folder)


def _check_same(folder: Path, manifest: Mapping[str, Any]) -> None:
    path = folder / MANIFEST
    if not folder.is_dir():
        raise RunFolderError(f"{folder}: no such grid folder")
    if not path.is_file():
        raise RunFolderError(f"{folder}: not the folder of a grid (no {MANIFEST} in it)")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        different = [key for key, value in manifest.items() if _to_json(found.get(key)) != _to_json(value)]
    except (ValueError, AttributeError, OSError) as error:
        raise RunFolderError(f"{path}: damaged, cannot be read as a grid's JSON") from error
    if different:
        raise RunFolderError(
            f"{folder}: holds another grid (other {different[0]}); give the command it was begun with, or another --out"
        )


def _to_json(content: Any, indent: int | None = None) -> str:
    return json.dumps(content, indent=indent, ensure_ascii=False, default=str)


def _is_completed(cell: Cell, folder: Path) -> bool:
    """Whether a cell's run is completed.

    Raises:
        RunFolderError: its folder holds the run of another configuration.
    """
    if not layout.is_run(folder):
        return False
    if load_config(layout.config_path(folder)) != cell.config:
        raise RunFolderError(f"{folder}: holds a run of another configuration; remove it, or give another --out")
    return status_of(folder) == "completed"


def _train_cell(report: Report, config: RunConfig, folder: Path, device: str, sinks: Sequence[str]) -> None:
    """A cell's run in a process of its own."""
    train_cell(config, folder, device=device, sinks=sinks, bus=reporting(report, config.epochs))
