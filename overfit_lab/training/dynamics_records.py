"""Per-sample training dynamics of a run, from its session into its folder."""

from __future__ import annotations

from pathlib import Path

from overfit_lab.errors import RunFolderError
from overfit_lab.files.columns import read_columns
from overfit_lab.records import layout
from overfit_lab.records.dynamics import VIEWS
from overfit_lab.records.dynamics_writer import DynamicsWriter, level_of
from overfit_lab.training.checkpoint import Checkpoint
from overfit_lab.training.dynamics import SIZES, Dynamics, Statistics
from overfit_lab.training.events import EpochEnded, EventBus, StepEnded
from overfit_lab.training.keeper import midway
from overfit_lab.training.session import Session


def begin_dynamics(session: Session) -> None:
    """Have the session's steps gather dynamics, where its configuration says so."""
    if session.config.dynamics.keep != "none":
        session.dynamics = Dynamics(len(session.data.splits["train"]), session.device, session.world)


def check_dynamics(folder: Path, checkpoint: Checkpoint | None) -> None:
    """Refuse to go on from dynamics that are damaged or are not those that a checkpoint counts; nothing is written.

    Raises:
        RunFolderError: so they are.
    """
    for view in VIEWS:
        path, sizes = layout.dynamics_path(folder, view), f"{view}/{SIZES}"
        epochs = read_columns(path).epochs if path.is_file() else ()
        if checkpoint is None or sizes not in checkpoint.dynamics:
            continue
        n_counted = int(checkpoint.dynamics[sizes].flatten()[-1:].sum())
        n_there = sum(epoch <= checkpoint.clock.epoch for epoch in epochs)
        kept_none = not path.is_file() and layout.running_path(folder, view).is_file()  # running statistics alone
        if n_there != n_counted and not kept_none:
            raise RunFolderError(
                f"{path}: has {n_there} epochs up to epoch {checkpoint.clock.epoch}, but the checkpoint counts "
                f"{n_counted}; bring the whole file, or train into another folder"
            )


def record_dynamics(session: Session, bus: EventBus, folder: Path | None) -> None:
    """Write what is gathered at the end of each epoch; several processes exchange it then, and before checkpoints.

    Args:
        folder: of the run; None in a process that is not the first.
    """
    dynamics = session.dynamics
    if dynamics is None:
        return
    write = None
    if folder is not None:
        n, config = dynamics.n_samples, session.config
        writer = DynamicsWriter(folder, level_of(config.dynamics.keep, n, config.epochs, folder))
        write = writer.write
        for name, view in dynamics.views.items():
            if view.n_written:  # statistics of a later epoch went when the run was cut back
                writer.write_running(name, session.clock.epoch, Statistics(view.running), view.n_classes)
    bus.on(EpochEnded, lambda event: dynamics.end_epoch(event.snapshot.clock.epoch, write))
    if session.world.size > 1 and session.config.checkpoint.steps:
        bus.on(StepEnded, lambda event: dynamics.merge() if midway(session, event.clock) else None)
