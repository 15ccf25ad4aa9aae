"""What MLflow keeps locally: the folder mlruns, or a database in a file."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from overfit_lab.files.escape import as_unicode
from overfit_lab.files.limits import LOG_BYTES, LOG_CELLS
from overfit_lab.files.reading import cause, read_bytes
from overfit_lab.importing.source import LogError, Source
from overfit_lab.importing.table import Format, Table, table_of

METRICS = "metrics"
SQL_STEPS = 100 * LOG_CELLS
"""Instructions of a database that may be run: a query of a hostile one need never end."""
SQLITE = b"SQLite format 3\0"
DEPTHS = ("", "*/", "*/*/")
Rows = dict[int, dict[str, Any]]


def recognises(source: Source) -> bool:
    """A folder of a run, an experiment or several of them, with meta.yaml and metrics below; or a file of SQLite."""
    return bool(_runs(source.path)) if source.is_folder else source.begins_with(SQLITE)


def _runs(path: Path) -> list[Path]:
    """Folders of runs, of which each has meta.yaml and the folder metrics."""
    folders = [p.parent for depth in DEPTHS for p in path.glob(f"{depth}{METRICS}") if p.is_dir()]
    return sorted(folder for folder in folders if (folder / "meta.yaml").is_file() and ".trash" not in folder.parts)


def read(source: Source) -> list[Table]:
    """MLflow: a local folder, mlruns or a part of it, or the file mlflow.db, each run of it a run.

    A metric's file has a line of time, value and step for each number, the database a row. Exports of the server
    (columns key, value, step) are read by csv and json.
    """
    tables: list[Table] = []
    for key, name, rows, settings in _in_folders(source.path) if source.is_folder else _in_database(source.path):
        if rows:
            distinct = f"{name}-{key[:8]}" if name in [table.name for table in tables] else name
            ordered = [rows[step] for step in sorted(rows)]
            tables.append(table_of(source, ordered, name=distinct, settings=settings))
    if not tables:
        raise LogError(f"{source}: holds no metrics of an MLflow run")
    return tables


def _in_folders(path: Path) -> Iterator[tuple[str, str, Rows, dict[str, str]]]:
    """Of each run its key, name, numbers by step and parameters."""
    for folder in _runs(path):
        name = _said(folder / "tags" / "mlflow.runName") or _in_meta(folder / "meta.yaml") or folder.name
        parameters = [file for file in sorted((folder / "params").glob("*")) if file.is_file()]
        settings = {as_unicode(file.name): _said(file) for file in parameters}
        yield as_unicode(folder.name), as_unicode(name), _rows(folder / METRICS), settings


def _in_database(path: Path) -> Iterator[tuple[str, str, Rows, dict[str, str]]]:
    """Of each run its key, name, numbers by step and parameters; the file is only read."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            left = iter(range(SQL_STEPS // 1000))
            database.set_progress_handler(lambda: next(left, None) is None, 1000)
            runs = database.execute("SELECT run_uuid, name FROM runs ORDER BY start_time, run_uuid").fetchall()
            for key, name in runs:
                rows: Rows = {}
                query = "SELECT key, value, step, is_nan FROM metrics WHERE run_uuid = ? ORDER BY timestamp"
                for metric, value, step, is_nan in database.execute(query, (key,)):
                    rows.setdefault(step, {"step": step})[metric] = float("nan") if is_nan else value
                query = "SELECT key, value FROM params WHERE run_uuid = ? ORDER BY key"
                yield key, name or key, rows, dict(database.execute(query, (key,)).fetchall())
    except sqlite3.Error as error:
        raise LogError(f"{path}: is no database of MLflow's ({error})") from error


def _rows(folder: Path) -> Rows:
    """Numbers by step; of one step the latest line stands."""
    rows: Rows = {}
    for top, _, files in os.walk(folder):
        for file in sorted(files):
            path = Path(top) / file
            for i, line in enumerate(_text(path).splitlines(), start=1):
                parts = line.split()
                if not parts:
                    continue
                try:
                    value, step = float(parts[1]), int(parts[2]) if len(parts) > 2 else 0
                except (ValueError, IndexError) as error:
                    raise LogError(f"{path}, line {i}: expected time, value and step, got {line[:40]!r}") from error
                name = as_unicode(path.relative_to(folder).as_posix())
                rows.setdefault(step, {"step": step})[name] = value
    return rows


def _said(path: Path) -> str:
    return _text(path).strip() if path.is_file() else ""


def _text(path: Path) -> str:
    """A file's text.

    Raises:
        LogError: it cannot be read.
    """
    try:
        return read_bytes(path, LOG_BYTES).decode(errors="replace")
    except OSError as error:
        raise LogError(f"{path}: cannot be read ({cause(error)})") from error


def _in_meta(path: Path) -> str:
    """The run's name in meta.yaml."""
    lines = _said(path).splitlines()
    return next((line.partition(":")[2].strip().strip("'\"") for line in lines if line.startswith("run_name:")), "")


REGISTER = {"mlflow": Format(recognises, read)}
