"""`overfit-lab train` on several devices: with ``--devices``, or as one of the processes that torchrun started."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from overfit_lab.cli.interrupted import Interrupted
from overfit_lab.cli.target import note
from overfit_lab.config import RunConfig
from overfit_lab.errors import ConfigError, OverfitLabError

if TYPE_CHECKING:
    from overfit_lab.training.events import EventBus


@dataclass(frozen=True)
class SharedRun:
    """What was asked for on the command line; see :class:`overfit_lab.launch.Layout`."""

    devices: int | None
    nodes: int
    node_rank: int
    rendezvous: str | None
    timeout: float

    @property
    def is_wanted(self) -> bool:
        """Whether several processes are asked for, or this is one of them already."""
        return self.devices is not None or self.nodes != 1 or self.rendezvous is not None or from_torchrun() is not None

    def refuse_grid(self) -> None:
        """A grid shares out whole runs, not batches.

        Raises:
            ConfigError: several devices were asked for.
        """
        if self.is_wanted:
            raise ConfigError("--devices goes with one run; a grid gives each device runs of its own by --jobs")

    def train(
        self, config: RunConfig, folder: Path, *, resume: bool, device: str, trust: bool, sinks: Sequence[str]
    ) -> None:
        """Train, show where the run stands, and say how it ended."""
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        place = from_torchrun()
        if place is not None:
            if self.devices is not None or self.nodes != 1:
                raise ConfigError("--devices: torchrun has started the processes already; leave it out")
            _train_as_one(place, config, folder, self.timeout, resume, device, trust, sinks)
            return
        from overfit_lab.launch import Layout, parse_rendezvous, train_on_devices

        host, port = parse_rendezvous(self.rendezvous)
        devices = self.devices if self.devices is not None else 1
        where = Layout(devices, self.nodes, self.node_rank, host, port, self.timeout)
        status = train_on_devices(
            config, folder, where, resume=resume, device=device, trust=trust, sinks=sinks, listen=progress_of
        )
        if self.node_rank == 0:
            tell_end(status, folder)


@dataclass(frozen=True)
class Place:
    """Where this process is among those of torchrun."""

    rank: int
    local_rank: int
    size: int


def from_torchrun() -> Place | None:
    """This process's place, from the variables that torchrun sets; None where it did not start this process."""
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    if not all(name in os.environ for name in names):
        return None
    return Place(int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"]), int(os.environ["WORLD_SIZE"]))


@contextmanager
def progress_of(name: str) -> Iterator[EventBus]:
    """The bus of a run whose progress is shown."""
    from overfit_lab.cli.progress import TrainingProgress
    from overfit_lab.training.events import EventBus

    bus = EventBus()
    with TrainingProgress(name) as progress:
        progress.subscribe(bus)
        yield bus


def _train_as_one(
    place: Place,
    config: RunConfig,
    folder: Path,
    timeout: float,
    resume: bool,
    device: str,
    trust: bool,
    sinks: Sequence[str],
) -> None:
    """Train as one of the processes that torchrun started; the first one speaks for all."""
    import torch

    from overfit_lab.build import resolve_device
    from overfit_lab.distributed.world import joined
    from overfit_lab.experiment import train_run

    if resolve_device(device).type == "cuda":
        torch.cuda.set_device(place.local_rank)
    synchronised = config.compute.batch_norm == "synchronised"
    listening = progress_of(folder.name) if place.rank == 0 else nullcontext(None)
    try:
        with joined(place.rank, place.size, timeout=timeout, synchronised=synchronised) as world, listening as bus:
            status = train_run(
                config,
                folder,
                resume=resume,
                device=device,
                bus=bus,
                trust=trust,
                sinks=sinks,
                on_note=note,
                world=world,
            )
    except OverfitLabError:
        if place.rank == 0:
            raise
        raise typer.Exit(2) from None  # the first process says what is wrong
    if place.rank == 0:
        tell_end(status, folder)
    elif status == "interrupted":
        raise typer.Exit(130)


def tell_end(status: str, folder: Path) -> None:
    """Say how a run ended, and what could come next.

    Raises:
        Interrupted: it can be gone on with.
    """
    if status == "interrupted":
        raise Interrupted(f"the same command with --resume goes on in {folder}")
    typer.echo(f"{status}: {folder}")
    typer.echo(f"next: overfit-lab figure overview {folder} --out overview.png")
