"""What a user should know of a run that goes on all the same, each said once in a line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from overfit_lab.files.terminal import to_stderr
from overfit_lab.models.fitness import PROBABILITIES, gives_probabilities, not_finite_weights
from overfit_lab.probes.snapshot import Snapshot
from overfit_lab.records.writer import RunWriter
from overfit_lab.training.events import EpochEnded, EventBus, RunStarted
from overfit_lab.training.loop import NOT_FINITE
from overfit_lab.training.subjects import OnNote
from overfit_lab.types import to_float

N_SHOWN = 8
KEY = "doubts"
"""Where run.json lists what is doubtful about the model."""


class Doubts:
    """Listens to a run.

    Args:
        milestones: completed epochs at which something drops, by what drops.
        on_note: told in a line; default: a line on stderr.
        writer: of the run folder, which keeps what is doubtful about the model.
    """

    def __init__(
        self, milestones: Mapping[str, Sequence[int]], on_note: OnNote | None = None, writer: RunWriter | None = None
    ) -> None:
        self._milestones = milestones
        self._writer = writer
        self._on_note = on_note if on_note is not None else to_stderr
        self._said: set[str] = set()

    def subscribe(self, bus: EventBus) -> None:
        """Listen from now on."""
        bus.on(RunStarted, self._started)
        bus.on(EpochEnded, self._epoch_ended)

    def _started(self, event: RunStarted) -> None:
        n_epochs = event.snapshot.clock.n_epochs
        for what, milestones in self._milestones.items():
            late = [str(milestone) for milestone in milestones if milestone >= n_epochs]
            if late and not event.resumed:
                self._on_note(
                    f"{what} does not drop at epoch {', '.join(late)}: the run ends after {n_epochs} epochs; "
                    "milestones may be shares, such as schedule.milestones=[50%,75%]"
                )
        say_doubt(event.snapshot, self._on_note, self._writer)

    def _epoch_ended(self, event: EpochEnded) -> None:
        for value in event.values:
            if value.field == NOT_FINITE and NOT_FINITE not in self._said:
                self._said.add(NOT_FINITE)
                self._on_note(
                    f"epoch {event.snapshot.clock.epoch}: {value.value:.0f} gradients of an image had entries that are "
                    "not finite (as of a square root at 0); those counted as 0"
                )


def say_doubt(snapshot: Snapshot, on_note: OnNote = to_stderr, writer: RunWriter | None = None) -> None:
    """Say what is doubtful about a model, where anything is, and keep it in run.json."""
    doubt = doubt_of(snapshot)
    if doubt is not None:
        on_note(doubt)
        if writer is not None:
            writer.add_to_info(KEY, doubt)


def doubted(
    snapshots: Iterable[Snapshot], on_note: OnNote | None, folder: Callable[[], Path] | None = None
) -> Iterator[Snapshot]:
    """The same snapshots; what is doubtful about them is said once, and kept in the run folder where one is named."""
    said = set()
    for snapshot in snapshots:
        doubt = doubt_of(snapshot)
        if doubt is not None and doubt not in said:
            said.add(doubt)
            (on_note or to_stderr)(doubt)
            if folder is not None:
                with RunWriter.reopen(folder()) as writer:
                    writer.add_to_info(KEY, doubt)
        yield snapshot


def doubt_of(snapshot: Snapshot) -> str | None:
    """Why a model's numbers may mean something else than they seem to; None where nothing is amiss.

    Cost: a look at all weights and a forward pass of eight images.
    """
    lost = not_finite_weights(snapshot.model)
    if lost:
        others = f" and {len(lost) - 1} more tensors" if len(lost) > 1 else ""
        held = f"{lost[0]}{others} hold NaN or infinity"
        return f"the weights are not finite ({held}), so no number of this model means anything"
    images = next(iter(snapshot.data.splits["train"].x.split(N_SHOWN)))
    return PROBABILITIES if gives_probabilities(snapshot.model, to_float(images)) else None
