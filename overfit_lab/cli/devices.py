"""`overfit-lab train` on several devices: with ``--devices``, or as one of the processes that torchrun started."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import typer

from overfit_lab.config import RunConfig
from overfit_lab.errors import ConfigError, FailedError, Interrupted, OverfitLabError
from overfit_lab.files.terminal import say

if TYPE_CHECKING:
    from overfit_lab.training.events import EventBus


@dataclass(frozen=True)
class SharedRun:
    """The options that share one run among processes; see :class:`overfit_lab.training.launch.Layout`."""

    devices: int | None
    nodes: int
    node_rank: int
    rendezvous: str | None
    timeout: float

    @property
    def is_wanted(self) -> bool:
        """Whether several processes share the run, started by --devices or by torchrun."""
        return self.devices is not None or self.nodes != 1 or self.rendezvous is not None or started_by_torchrun()

    def refuse_grid(self) -> None:
        """Refuse --devices for a grid, which shares out whole runs, not batches.

        Raises:
            ConfigError: several devices were asked for.
        """
        if self.is_wanted:
            raise ConfigError("--devices goes with one run; a grid gives each device runs of its own by --jobs")

    def train(
        self, config: RunConfig, folder: Path, *, resume: bool, device: str, trust: bool, sinks: Sequence[str]
    ) -> None:
        """Train, show progress and print how the run ended."""
        if started_by_torchrun():
            self._train_under_torchrun(config, folder, resume=resume, device=device, trust=trust, sinks=sinks)
            return
        from overfit_lab.training.launch import Layout, parse_rendezvous, train_on_devices

        host, port = parse_rendezvous(self.rendezvous)
        devices = self.devices if self.devices is not None else 1
        layout = Layout(devices, self.nodes, self.node_rank, host, port, self.timeout)
        status = train_on_devices(
            config, folder, layout, resume=resume, device=device, trust=trust, sinks=sinks, listen=progress_of
        )
        if self.node_rank == 0:
            tell_end(status, folder)

    def _train_under_torchrun(self, config: RunConfig, folder: Path, **options: Any) -> None:
        """Train as one of torchrun's processes; rank 0 alone prints."""
        if self.devices is not None or self.nodes != 1:
            raise ConfigError("--devices: torchrun has started the processes already; leave it out")
        from overfit_lab.training.launch import Place, train_as_one

        place = Place(*(int(os.environ[name]) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")))
        try:
            status = train_as_one(place, config, folder, timeout=self.timeout, listen=progress_of, **options)
        except OverfitLabError:
            if place.rank == 0:
                raise
            raise typer.Exit(2) from None
        if place.rank == 0:
            tell_end(status, folder)
        elif status == "interrupted":
            raise typer.Exit(130)


def started_by_torchrun() -> bool:
    """Whether torchrun started this process, by the environment variables that it sets."""
    return all(name in os.environ for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))


@contextmanager
def progress_of(name: str) -> Iterator[EventBus]:
    """An event bus whose run's progress is shown."""
    from overfit_lab.cli.progress import TrainingProgress
    from overfit_lab.training.events import EventBus

    bus = EventBus()
    with TrainingProgress(name) as progress:
        progress.subscribe(bus)
        yield bus


def tell_end(status: str, folder: Path) -> None:
    """Print how a run ended and which command could follow.

    Raises:
        Interrupted: the run was interrupted; the message says how to resume it.
        FailedError: it diverged.
    """
    if status == "interrupted":
        raise Interrupted(f"the same command with --resume goes on in {folder}")
    if status == "diverged":
        from overfit_lab.records.status import divergence_in_words

        raise FailedError(f"{folder}: {divergence_in_words(folder)}")
    say(f"{status}: {folder}")
    say(f"next: overfit-lab figure overview {quote(str(folder))} --out overview.png")
