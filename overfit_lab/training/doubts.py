"""What a user should know of a run that goes on all the same, each said once in a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from overfit_lab.errors import to_stderr
from overfit_lab.models.fitness import PROBABILITIES, gives_probabilities
from overfit_lab.probes.snapshot import Snapshot
from overfit_lab.training.events import EpochEnded, EventBus, RunStarted
from overfit_lab.training.loop import NOT_FINITE
from overfit_lab.training.subjects import OnNote
from overfit_lab.types import to_float

N_SHOWN = 8


class Doubts:
    """Listens to a run.

    Args:
        milestones: completed epochs at which something drops, by what drops.
        on_note: told in a line; default: a line on stderr.
    """

    def __init__(self, milestones: Mapping[str, Sequence[int]], on_note: OnNote | None = None) -> None:
        self._milestones = milestones
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
        doubt = doubt_of(event.snapshot, "train")
        if doubt:
            self._on_note(doubt)

    def _epoch_ended(self, event: EpochEnded) -> None:
        for value in event.values:
            if value.field == NOT_FINITE and NOT_FINITE not in self._said:
                self._said.add(NOT_FINITE)
                self._on_note(
                    f"epoch {event.snapshot.clock.epoch}: {value.value:.0f} gradients of an image had entries that are "
                    "not finite (as of a square root at 0); those counted as 0"
                )


def doubt_of(snapshot: Snapshot, split: str) -> str | None:
    """Why a model's numbers may mean something else than they seem to; None where nothing is amiss.

    Cost: a forward pass of eight images.
    """
    part = snapshot.data.splits.get(split)
    images = next(iter(part.x.split(N_SHOWN)), None) if part is not None else None
    if images is None or not len(images):
        return None
    return PROBABILITIES if gives_probabilities(snapshot.model, to_float(images)) else None
