"""What run.json says of how a run stands."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from overfit_lab.errors import RunFolderError
from overfit_lab.records import layout
from overfit_lab.records.writer import RunWriter


def status_of(folder: Path) -> Any:
    """The run's state: ``running``, ``completed``, ``interrupted`` or ``failed``; None where nothing is said.

    Raises:
        RunFolderError: run.json is damaged.
    """
    path = layout.info_path(folder)
    try:
        return json.loads(path.read_text(encoding="utf-8")).get("status")
    except (ValueError, AttributeError) as error:
        raise RunFolderError(f"{path}: damaged, not valid JSON") from error


def mark_ended(folder: Path, status: str) -> None:
    """Correct run.json where a process that was killed could not; nothing where another process holds the folder."""
    if layout.is_run(folder) and status_of(folder) == "running":
        with suppress(RunFolderError), RunWriter.reopen(folder) as writer:
            writer.update_info(status=status)
