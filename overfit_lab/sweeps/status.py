"""The state of every cell of a sweep, from the files alone; nothing is written."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overfit_lab.errors import RunFolderError
from overfit_lab.records import layout
from overfit_lab.records.status import DIVERGED
from overfit_lab.records.writer import is_held
from overfit_lab.sweeps.beat import Beat, beat_path, read_beat
from overfit_lab.sweeps.manifest import SweepCell, read_manifest
from overfit_lab.sweeps.work import last_lines, log_path

STATES = ("waiting", "running", "completed", "diverged", "interrupted", "failed", "lost")


@dataclass(frozen=True)
class CellStatus:
    """The state of a cell.

    Args:
        folder: its name.
        name: its settings in words.
        settings: the axes' keys and its values.
        seed: of the run.
        state: one of :data:`STATES`; ``lost`` is a run that was being trained and whose process is gone.
        epoch: completed epochs.
        epochs: of the whole run.
        host: where it runs or ran last; empty where it never did.
        failure: of a failed cell the reason, of a lost one the last line of its log.
    """

    folder: str
    name: str
    settings: dict[str, Any]
    seed: int
    state: str
    epoch: int
    epochs: int
    host: str
    failure: str


def sweep_status(folder: Path) -> list[CellStatus]:
    """One entry a cell, in the order of ``sweep.json``.

    Raises:
        RunFolderError: no sweep, or damaged.
    """
    return [cell_status(folder, cell) for cell in read_manifest(folder).cells]


def cell_status(folder: Path, cell: SweepCell) -> CellStatus:
    """The state of one cell."""
    path = folder / cell.folder
    beat, info = read_beat(beat_path(path)), {}
    with suppress(RunFolderError):
        info = layout.read_info(path)
    state = _state(path, info, beat)
    epochs = int(cell.config["epochs"])
    share = beat.share if beat is not None else 0.0
    done = int(info["epoch"]) if state != "running" and info.get("epoch") else math.floor(share * epochs + 1e-9)
    failure = ""
    if state in ("failed", "lost", DIVERGED):
        lines = last_lines(log_path(path), 1)
        failure = (beat.failure if beat is not None else "") or (lines[0] if lines else "")
    host = beat.host if beat is not None and beat.state != "queued" else ""
    return CellStatus(
        cell.folder, cell.name, cell.settings, cell.seed, state, epochs if state == "completed" else done, epochs, host,
        failure,
    )  # fmt: skip


def _state(path: Path, info: dict[str, Any], beat: Beat | None) -> str:
    status = info.get("status")
    if status == "completed":
        return "completed"
    if is_held(path) or (beat is not None and beat.is_alive):
        return "running"
    if status == DIVERGED:
        return DIVERGED
    if beat is not None and beat.state == "failed":
        return "failed"
    if status in ("failed", "interrupted"):
        return str(status)
    if status == "running" or (beat is not None and beat.state == "running"):
        return "lost"
    return "waiting" if beat is None or beat.state == "queued" else "interrupted"
