"""All cells of a sweep as one table: settings, seed, state, and what each run measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from overfit_lab.errors import ConfigError, RunFolderError
from overfit_lab.files.escape import for_csv, for_markdown
from overfit_lab.files.writing import check_file, output, write_text
from overfit_lab.records import layout
from overfit_lab.records.identity import flatten
from overfit_lab.records.reader import Run
from overfit_lab.records.summary import ENDINGS, best_epoch, final_epoch
from overfit_lab.sweeps.manifest import SweepCell, read_manifest
from overfit_lab.sweeps.status import cell_status
from overfit_lab.views.tables.as_text import pipe, pipes

METRICS: dict[str, tuple[str, str, str, str, float]] = {
    "clean": ("evaluation", "acc_clean", "test", "clean", 100.0),
    "robust": ("evaluation", "acc_adv", "test", "adversarial", 100.0),
    "clean_train": ("evaluation", "acc_clean", "train", "clean", 100.0),
    "robust_train": ("evaluation", "acc_adv", "train", "adversarial", 100.0),
    **{name.removesuffix("_final"): (*place, 1.0) for name, place in ENDINGS.items()},
}
"""By the beginning of a column's name: probe, field, split, inputs, and the factor (accuracies are in percent)."""
SUFFIXES = (".csv", ".parquet", ".md")


def collect(folder: str | Path) -> pd.DataFrame:
    """One row a cell, in the order of ``sweep.json``, whatever its state.

    Columns: ``cell`` (the folder's name), ``name``, one for each axis under its key (cells of an earlier, smaller set
    of axes have the value of their configuration), ``seed``, ``status`` (as in ``sweep status``), ``best_epoch``,
    ``chosen_on``, ``final_epoch``, and ``*_best``, ``*_final`` and ``*_diff`` = best - final for

    - ``clean``, ``robust``: test accuracies in percent, higher is better; ``clean_train``, ``robust_train`` on train;
    - ``ece_adv`` (0 to 1), ``grad_norm``, ``iiw`` (nats), ``hessian_trace``: those that the cells' probes measured.

    Best is the epoch of the highest robust accuracy on the validation split where there is one, else on test (Rice et
    al. 2020); every number is read there. A number that was not measured at an epoch is missing. A cell without an
    evaluation has only its settings and status; final numbers of an unfinished cell are those of its last epoch.

    Cost: reads each cell's records once; no model is loaded.

    Args:
        folder: of the sweep.

    Returns:
        As many rows as cells; metrics that no cell measured have no columns.

    Raises:
        RunFolderError: no sweep, or a damaged file.
    """
    folder = Path(folder)
    cells = read_manifest(folder).cells
    axes = list(dict.fromkeys(key for cell in cells for key in cell.settings))
    frame = pd.DataFrame([_row(folder, cell, axes) for cell in cells])
    for name in METRICS:
        columns = [f"{name}_{end}" for end in ("best", "final", "diff")]
        if frame[columns].isna().all(axis=None):
            frame = frame.drop(columns=columns)
    return frame


def _row(folder: Path, cell: SweepCell, axes: list[str]) -> dict[str, Any]:
    status = cell_status(folder, cell)
    row: dict[str, Any] = {"cell": cell.folder, "name": cell.name}
    row |= {key: _setting(cell, key) for key in axes}
    row |= {"seed": cell.seed, "status": status.state}
    return row | _numbers(folder / cell.folder)


def _setting(cell: SweepCell, key: str) -> Any:
    """The cell's value of an axis as a table holds it; a list or a group of keys as text."""
    value = cell.settings[key] if key in cell.settings else flatten(cell.config).get(key)
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)


def _numbers(path: Path) -> dict[str, Any]:
    numbers: dict[str, Any] = {"best_epoch": None, "chosen_on": None, "final_epoch": None}
    ends: dict[str, int] = {}
    if layout.is_run(path) and layout.records_path(path).is_file():
        run = Run(path)
        try:
            best = best_epoch(run)
            ends = {"best": best.epoch, "final": final_epoch(run)}
            numbers = {"best_epoch": best.epoch, "chosen_on": best.chosen_on, "final_epoch": ends["final"]}
        except RunFolderError:  # stopped before its first evaluation
            pass
    for name, (probe, field, split, inputs, factor) in METRICS.items():
        read = {end: run.value_at(epoch, probe, field, split, inputs) for end, epoch in ends.items()}
        values = {end: factor * value for end, value in read.items() if value is not None}
        numbers |= {f"{name}_{end}": values.get(end) for end in ("best", "final")}
        numbers[f"{name}_diff"] = values["best"] - values["final"] if len(values) == 2 else None
    return numbers


def check_table(path: Path) -> None:
    """Refuse a file that a table cannot be written to, before any work is done.

    Raises:
        ConfigError: another suffix than .csv, .parquet or .md, or a folder that does not exist.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{path}: suffix {path.suffix!r} stands for no format; use {', '.join(SUFFIXES)}")
    check_file(path)


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV, Parquet or Markdown by the file's suffix, whole or not at all.

    Raises:
        ConfigError: see :func:`check_table`; also where the file cannot be written.
    """
    check_table(path)
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        with output(path) as file:
            _of_one_kind(frame).to_parquet(file, index=False)
    else:
        write_text(_to_csv(frame) if suffix == ".csv" else to_markdown(frame), path)


def _to_csv(frame: pd.DataFrame) -> str:
    return frame.map(for_csv).rename(columns=for_csv).to_csv(index=False)


def to_markdown(frame: pd.DataFrame) -> str:
    """The table as Markdown; numbers to four significant digits, missing ones empty."""
    rows = [[_cell_text(value) for value in values] for values in frame.itertuples(index=False)]
    return (
        "\n".join(
            [*pipes(list(map(for_markdown, map(str, frame.columns))), [False] * len(frame.columns)), *map(pipe, rows)]
        )
        + "\n"
    )


def _cell_text(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else for_markdown(str(value))


def _of_one_kind(frame: pd.DataFrame) -> pd.DataFrame:
    """Parquet wants one type a column: an axis of numbers and words is written as words."""
    mixed = [key for key in frame if frame[key].map(type).nunique() > 1 and frame[key].dtype == object]
    return frame.astype(dict.fromkeys(mixed, str))
