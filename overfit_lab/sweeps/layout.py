"""Where everything lies in the folder of a sweep."""

from __future__ import annotations

from pathlib import Path

from overfit_lab.records.layout import SWEEP


def manifest_path(folder: Path) -> Path:
    """What the sweep is and which cells it has."""
    return folder / SWEEP


def beat_path(cell: Path) -> Path:
    """Who trains a cell, and whether it is alive; ``cell`` is the cell's run folder."""
    return cell.parent / "beats" / f"{cell.name}.json"


def log_path(cell: Path) -> Path:
    """What the processes of a cell printed."""
    return cell.parent / "logs" / f"{cell.name}.log"
