"""Which checkpoints are written when, and which one is the best so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from overfit_lab.files.disk import disk
from overfit_lab.records.best import Best, choosing, is_better
from overfit_lab.training.checkpoint import save_checkpoint
from overfit_lab.training.evaluation import find_value
from overfit_lab.training.events import EpochEnded, StepEnded
from overfit_lab.training.session import Session
from overfit_lab.types import Clock

MIDWAY = "midway.safetensors"
"""The checkpoint within an epoch."""


def midway(session: Session, clock: Clock) -> int:
    """Batches of the epoch that are done after a step, where a checkpoint within the epoch is due then; else 0."""
    every, n_batches = session.config.checkpoint.steps, session.loader.n_batches
    done = round((clock.progress - clock.epoch) * n_batches) + 1
    return done if every and done % every == 0 and done < n_batches else 0


def choosing_metric(session: Session) -> tuple[str, str]:
    """Metric and split that choose the best epoch of this run, by what its evaluations will measure."""
    splits, attacked = session.data.splits, session.setting.attack is not None

    def measured(metric: str, split: str) -> bool:
        return len(splits.get(split, ())) > 0 and (attacked or metric != "acc_adv")

    return choosing(session.objective.robust, measured) or ("acc_clean", "test")


@dataclass
class CheckpointKeeper:
    """Writes ``initial``, ``last``, ``best`` and every k-th epoch's checkpoint.

    ``last`` is complete and resumable; the others hold the weights, buffers and label memory. Within an epoch,
    ``midway`` is written after every so many steps where the run asks for it, and goes when the epoch ends.

    Args:
        notes: what to note in ``last``, asked for at each write.
        best: the best so far, of a resumed run.
    """

    session: Session
    folder: Path
    notes: Callable[[], dict[str, Any]]
    best: Best | None = None

    def save_initial(self) -> None:
        """The weights before the first step."""
        save_checkpoint(self.folder / "initial.safetensors", self.session, resumable=False)

    def on_epoch(self, event: EpochEnded) -> None:
        """Write what is due; ``last`` comes last, since a resumed run starts from it."""
        epoch = event.snapshot.clock.epoch
        if self.session.given_up:  # what is there stays: the last weights that were finite
            disk().unlink(self.folder / MIDWAY)
            return
        metric, split = choosing_metric(self.session)
        value = find_value(event.values, metric, split)
        if value is not None and is_better(value, self.best.value if self.best else None):
            self.best = Best(epoch, metric, split, value)
            save_checkpoint(self.folder / "best.safetensors", self.session, resumable=False)
        every = self.session.config.checkpoint.every
        if every and epoch % every == 0:
            save_checkpoint(self.folder / f"epoch-{epoch:04d}.safetensors", self.session, resumable=False)
        notes = {**self.notes(), "best": asdict(self.best) if self.best else None}
        save_checkpoint(self.folder / "last.safetensors", self.session, resumable=True, notes=notes)
        disk().unlink(self.folder / MIDWAY)

    def on_step(self, event: StepEnded) -> None:
        """Write ``midway`` where it is due."""
        clock, n_batches = event.clock, self.session.loader.n_batches
        done = midway(self.session, clock)
        if not done:
            return
        notes = {**self.notes(), "best": asdict(self.best) if self.best else None}
        following = replace(clock, step=clock.step + 1, progress=clock.epoch + done / n_batches)
        save_checkpoint(self.folder / MIDWAY, self.session, resumable=True, notes=notes, clock=following)
