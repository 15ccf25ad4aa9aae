"""TensorBoard's event files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from overfit_lab.errors import missing
from overfit_lab.files.limits import EVENTS_BYTES, in_bytes
from overfit_lab.importing.source import LogError, Source
from overfit_lab.importing.table import Format, Table, table_of

MARK = "tfevents"


def recognises(source: Source) -> bool:
    """An event file, or a folder with one in it or below."""
    return bool(_folders(source.path)) if source.is_folder else MARK in source.path.name


def _folders(path: Path) -> list[Path]:
    """The folders of event files, in order; one is a run."""
    folders = {Path(top) for top, _, files in os.walk(path) if any(MARK in file for file in files)}
    return sorted(folders)


def read(source: Source) -> list[Table]:
    """TensorBoard: an event file, or a folder with some in it or below, each folder a run.

    Scalars by step, whether a SummaryWriter of PyTorch's or of TensorFlow's wrote them; of a step that was written
    twice the last. Needs the package tensorboard.
    """
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError as error:
        raise missing("tensorboard", "tensorboard") from error
    tables = []
    for folder in _folders(source.path) if source.is_folder else [source.path]:
        files = list(folder.glob("*tfevents*")) if folder.is_dir() else [folder]
        if (size := sum(file.stat().st_size for file in files)) > EVENTS_BYTES:
            raise LogError(
                f"{folder}: its event files have {in_bytes(size)}, expected {in_bytes(EVENTS_BYTES)} at most"
            )
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
        try:
            events.Reload()
        except Exception as error:  # what it raises at damage is nowhere said
            raise LogError(f"{folder}: cannot be read by tensorboard ({' '.join(str(error).split())[:100]})") from error
        rows = _rows(events)
        if rows:
            below = os.path.relpath(folder, source.path) if source.is_folder else "."
            name = source.path.resolve().name if source.is_folder else folder.resolve().parent.name
            ordered = [rows[step] for step in sorted(rows)]
            tables.append(table_of(source, ordered, name=name if below == "." else f"{name}/{below}"))
    if not tables:
        raise LogError(f"{source}: its event files hold no scalars")
    return [_only(table, tables) for table in tables]


def _only(table: Table, tables: list[Table]) -> Table:
    """The table under a shorter name, where all of the folders lie below one."""
    if len(tables) > 1:
        table.name = table.name.partition("/")[2] or table.name
    return table


def _rows(events: Any) -> dict[int, dict[str, Any]]:
    """Scalars by step."""
    from tensorboard.util.tensor_util import make_ndarray

    rows: dict[int, dict[str, Any]] = {}
    tags = events.Tags()
    for tag in tags["scalars"]:
        for event in events.Scalars(tag):
            rows.setdefault(event.step, {"step": event.step})[tag] = event.value
    for tag in tags["tensors"]:
        if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":
            for event in events.Tensors(tag):
                rows.setdefault(event.step, {"step": event.step})[tag] = float(make_ndarray(event.tensor_proto))
    return rows


REGISTER = {"tensorboard": Format(recognises, read)}
