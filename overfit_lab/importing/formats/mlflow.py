"""A local folder of MLflow's, mlruns."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from overfit_lab.importing.source import LogError, Source
from overfit_lab.importing.table import Format, Table, table_of

METRICS = "metrics"
DEPTHS = ("", "*/", "*/*/")


def recognises(source: Source) -> bool:
    """A folder of a run, an experiment or several of them: it has meta.yaml and metrics below."""
    return source.is_folder and bool(_runs(source.path))


def _runs(path: Path) -> list[Path]:
    """Folders of runs, of which each has meta.yaml and the folder metrics."""
    folders = [p.parent for depth in DEPTHS for p in path.glob(f"{depth}{METRICS}") if p.is_dir()]
    return sorted(folder for folder in folders if (folder / "meta.yaml").is_file() and ".trash" not in folder.parts)


def read(source: Source) -> list[Table]:
    """MLflow: a local folder, mlruns or a part of it, each run of it a run.

    A metric's file has a line of time, value and step for each number. Exports of the server (columns key, value, step)
    are read by csv and json.
    """
    tables = []
    names: list[str] = []
    for folder in _runs(source.path):
        rows = _rows(folder / METRICS)
        if rows:
            name = _said(folder / "tags" / "mlflow.runName") or _in_meta(folder / "meta.yaml") or folder.name
            name = f"{name}-{folder.name[:8]}" if name in names else name
            names.append(name)
            settings = {path.name: _said(path) for path in sorted((folder / "params").glob("*")) if path.is_file()}
            ordered = [rows[step] for step in sorted(rows)]
            tables.append(table_of(source, ordered, name=name, settings=settings))
    if not tables:
        raise LogError(f"{source.path}: holds no metrics of an MLflow run")
    return tables


def _rows(folder: Path) -> dict[int, dict[str, Any]]:
    """Numbers by step; of one step the latest line stands."""
    rows: dict[int, dict[str, Any]] = {}
    for top, _, files in os.walk(folder):
        for file in sorted(files):
            path = Path(top) / file
            for i, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
                parts = line.split()
                if not parts:
                    continue
                try:
                    value, step = float(parts[1]), int(parts[2]) if len(parts) > 2 else 0
                except (ValueError, IndexError) as error:
                    raise LogError(f"{path}, line {i}: expected time, value and step, got {line[:40]!r}") from error
                name = path.relative_to(folder).as_posix()
                rows.setdefault(step, {"step": step})[name] = value
    return rows


def _said(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _in_meta(path: Path) -> str:
    """The run's name in meta.yaml."""
    lines = _said(path).splitlines()
    return next((line.partition(":")[2].strip().strip("'\"") for line in lines if line.startswith("run_name:")), "")


REGISTER = {"mlflow": Format(recognises, read)}
