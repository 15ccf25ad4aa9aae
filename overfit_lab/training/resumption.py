"""What a run goes on from: a checkpoint and the records that go with it, or nothing where nothing was done yet."""

from __future__ import annotations

import re
from pathlib import Path

from overfit_lab.errors import RunFolderError
from overfit_lab.records import layout
from overfit_lab.records.reader import read_records
from overfit_lab.records.records import TRAINING
from overfit_lab.records.status import status_of
from overfit_lab.records.writer import RunWriter
from overfit_lab.training.checkpoint import Checkpoint, load_checkpoint


def resumable_of(writer: RunWriter) -> Checkpoint | None:
    """The checkpoint that a run goes on from; None of a run that ended before its first one was written.

    Nothing is written, so that a refusal leaves the folder as it is.

    Raises:
        RunFolderError: it is damaged, or the records are not those that it counts, or it is missing although the run
            came further than that.
    """
    path = layout.resumable_path(writer.folder)
    if path is None:
        _check_begun_only(writer.folder)
        return None
    checkpoint = load_checkpoint(path)
    writer.check_holds(checkpoint.notes, str(path))
    return checkpoint


def _check_begun_only(folder: Path) -> None:
    """Refuse to begin anew where more was done than the first epoch, whose end the first such checkpoint marks."""
    rows = [row for row in read_records(layout.records_path(folder)) if row.origin == TRAINING]
    files = [re.fullmatch(r"epoch-(\d+)", file.stem) for file in layout.checkpoints(folder).glob("epoch-*")]
    epochs = [row.epoch for row in rows] + [int(match[1]) for match in files if match]
    if max(epochs, default=0) > 1 or status_of(folder) == "completed":
        raise RunFolderError(
            f"{layout.checkpoint_path(folder, 'last')}: missing, though epoch {max(epochs, default=0)} was recorded; "
            "nothing was changed: bring that file, or train into another folder"
        )
