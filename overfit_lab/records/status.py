"""How a run stands and how it ended, as run.json says it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overfit_lab.errors import RunFolderError
from overfit_lab.records import layout
from overfit_lab.records.environment import machine, now
from overfit_lab.records.writer import RunWriter, is_held

if TYPE_CHECKING:
    from overfit_lab.records.reader import Run  # brings pandas, which whoever only asks for a state need not wait for

ENDED = "ended"
"""State of an imported log: it is over, and how it ended is not known."""
STOPPED = "stopped"
"""State of a run whose process is gone without having said how it ended."""
MACHINE = "machine"
"""In run.json: a mark of the machine that the run was begun or gone on with on."""
DIVERGED = "diverged"
"""State of a run whose loss or weights are not finite; under the same key run.json says since which step and epoch."""
COMPLETE = ("completed", layout.IMPORTED, ENDED)
"""States of runs of which nothing is known to be missing."""


def status_of(folder: Path) -> Any:
    """The run's state, such as ``running``, ``completed``, ``diverged``, ``interrupted``, ``failed`` or ``imported``.

    None where nothing is said, or where there is no run.

    Raises:
        RunFolderError: run.json is damaged.
    """
    return layout.read_info(folder).get("status") if layout.is_run(folder) else None


def standing(folder: Path, info: Mapping[str, Any]) -> str:
    """How a run stands: what run.json says, or :data:`STOPPED` of one that says ``running`` and is not.

    Args:
        folder: the run folder.
        info: what run.json says.

    A process that was killed, or that could not write any more, leaves ``running``; on the machine that it ran on the
    lock tells whether it is there. Of a run on another machine only run.json is known.
    """
    status = str(info.get("status", "unknown"))
    gone = status == "running" and info.get(MACHINE) == machine() and not is_held(folder)
    return STOPPED if gone else status


def ended_at(run: Run) -> str:
    """How far a run came, in words: ``interrupted at epoch 3 of 100``; without its length where that is not known."""
    length = f" of {run.config.epochs}" if run.config.knows("epochs") else ""
    return f"{run.status} at epoch {run.info.get('epoch', '?')}{length}"


def divergence_in_words(folder: Path) -> str:
    """Where a run diverged and which of its weights are still finite, in a sentence.

    Raises:
        RunFolderError: run.json is damaged.
    """
    said = layout.read_info(folder).get(DIVERGED)
    place = said if isinstance(said, dict) else {}
    last = layout.resumable_path(folder)
    finite = f"the weights of {last}, of epoch {layout.epoch_of(last)}, are finite" if last is not None else ""
    initial = f"none but the initial weights of {layout.checkpoints(folder)} are finite"
    step, epoch = place.get("step", "?"), place.get("epoch", "?")
    return f"diverged at step {step}, in epoch {epoch}: the loss or the weights are not finite; {finite or initial}"


def begin(writer: RunWriter, **changes: Any) -> None:
    """Write that a run is under way, on this machine.

    Args:
        writer: of the run.
        changes: other keys of run.json.
    """
    writer.update_info(**running(), **changes)


def running() -> dict[str, Any]:
    """What run.json says of a run that is under way on this machine."""
    return {"status": "running", MACHINE: machine()}


def end(writer: RunWriter, status: str, **changes: Any) -> None:
    """Write how a run ended, with the time of now.

    Args:
        writer: of the run.
        status: ``completed``, ``diverged``, ``interrupted`` or ``failed``.
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
        with suppress(OSError):  # a disk that is full is why it failed; the lock tells then, see standing
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
