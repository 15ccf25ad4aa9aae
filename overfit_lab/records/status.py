"""How a run stands and how it ended, as run.json says it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overfit_lab.errors import RunFolderError
from overfit_lab.records import layout
from overfit_lab.records.environment import now
from overfit_lab.records.writer import RunWriter

if TYPE_CHECKING:
    from overfit_lab.records.reader import Run  # brings pandas, which whoever only asks for a state need not wait for

ENDED = "ended"
"""State of an imported log: it is over, and how it ended is not known."""
COMPLETE = ("completed", layout.IMPORTED, ENDED)
"""States of runs of which nothing is known to be missing."""


def status_of(folder: Path) -> Any:
    """The run's state: ``running``, ``completed``, ``interrupted``, ``failed``, ``imported`` or ``ended``; None where
    nothing is said, or where there is no run.

    Raises:
        RunFolderError: run.json is damaged.
    """
    return layout.read_info(folder).get("status") if layout.is_run(folder) else None


def ended_at(run: Run) -> str:
    """How far a run came, in words: ``interrupted at epoch 3 of 100``; without its length where that is not known."""
    length = f" of {run.config.epochs}" if run.config.knows("epochs") else ""
    return f"{run.info.get('status', 'unknown')} at epoch {run.info.get('epoch', '?')}{length}"


def end(writer: RunWriter, status: str, **changes: Any) -> None:
    """Write how a run ended, with the time of now.

    Args:
        writer: of the run.
        status: ``completed``, ``interrupted`` or ``failed``.
        changes: other keys of run.json.
    """
    writer.update_info(status=status, ended=now(), **changes)


@contextmanager
def end_at_error(writer: RunWriter) -> Iterator[None]:
    """Write how a run ended if the block raises; an interruption goes no further."""
    try:
        yield
    except KeyboardInterrupt:
        end(writer, "interrupted")
    except BaseException:
        end(writer, "failed")
        raise


def mark_ended(folder: Path, status: str, instead_of: Collection[str] = ("running",)) -> None:
    """Write how a run ended whose own process could not; nothing where there is no run or a process still writes.

    Args:
        folder: the run folder.
        status: ``interrupted`` or ``failed``.
        instead_of: what it may say so far; another ending stands.
    """
    with suppress(RunFolderError, OSError):
        before = status_of(folder)
        if before in instead_of and before != status:
            with RunWriter.reopen(folder) as writer:
                end(writer, status)
