"""Start the processes of a run on this machine, one a device, and see that all of them end."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch._C._distributed_c10d import Store, TCPStore

from overfit_lab.config import RunConfig
from overfit_lab.errors import ConfigError, FailedError, LostProcessError, OverfitLabError
from overfit_lab.files.terminal import to_stderr
from overfit_lab.processes.pool import Job, Refusal, Report, Watcher, run_jobs, usable_cores
from overfit_lab.processes.world import TIMEOUT, joined
from overfit_lab.records import layout
from overfit_lab.records.sinks.mirror import make_sinks
from overfit_lab.records.status import DIVERGED, mark_ended, status_of
from overfit_lab.training.complete import check_shares, combine, complete
from overfit_lab.training.compute import resolve_device
from overfit_lab.training.events import EventBus
from overfit_lab.training.run import check_place, resumed_config, train_run

UNFINISHED = ("running", "interrupted", "failed")
"""What the processes may have said of a run, which whoever started them knows better."""
LOCAL = "127.0.0.1"
Listen = Callable[[str], AbstractContextManager[EventBus]]


@dataclass(frozen=True)
class Layout:
    """Where the processes of a run are.

    Args:
        port: where processes meet there; 0: any that is free, on one machine.
        timeout: seconds after which a process that does not answer is given up.
    """

    devices: int
    nodes: int = 1
    node_rank: int = 0
    host: str = LOCAL
    port: int = 0
    timeout: float = TIMEOUT

    @property
    def size(self) -> int:
        """Processes in all."""
        return self.devices * self.nodes

    def check(self, device: torch.device) -> None:
        """Refuse what cannot be.

        Raises:
            ConfigError: a number out of bounds, or fewer CUDA devices than asked for.
        """
        for name, number in (("devices", self.devices), ("nodes", self.nodes)):
            if number < 1:
                raise ConfigError(f"--{name} {number}: expected 1 or more")
        if not 0 <= self.node_rank < self.nodes:
            raise ConfigError(f"--node-rank {self.node_rank}: expected 0 to {self.nodes - 1} for {self.nodes} nodes")
        if self.nodes > 1 and self.port == 0:
            raise ConfigError("--nodes needs --rendezvous HOST:PORT, the first node and a free port there")
        if self.timeout <= 0:
            raise ConfigError(f"--timeout {self.timeout:g}: expected seconds above 0")
        if device.type == "cuda" and self.devices > torch.cuda.device_count():
            raise ConfigError(f"--devices {self.devices}: this machine has {torch.cuda.device_count()} CUDA devices")


def parse_rendezvous(text: str | None) -> tuple[str, int]:
    """Host and port from ``HOST:PORT``; this machine and any port from None.

    Raises:
        ConfigError: something else.
    """
    if text is None:
        return LOCAL, 0
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(f"--rendezvous {text!r}: expected HOST:PORT, such as node1:29500")
    return host, int(port)


def train_on_devices(
    config: RunConfig | None,
    folder: Path,
    where: Layout,
    *,
    resume: bool = False,
    device: str = "auto",
    trust: bool = False,
    sinks: Sequence[str] = (),
    listen: Listen | None = None,
) -> str:
    """Train into a run folder on several devices, a process for each; see :func:`~.training.run.train_run`.

    Each process takes its rows of every batch, so that the run is the one that a single device would make, to rounding.
    With several machines the same is called on each, with its number; the run folder is on a disk that all of them see.
    A script that calls this guards its own beginning by ``if __name__ == "__main__":``.

    Args:
        config: what to train; None with ``resume`` takes the folder's own.
        resume: go on from the last checkpoint, also one that more or fewer processes left.
        device: ``auto``, ``cpu`` or ``cuda``.
        listen: a function of a module; called with the folder's name in the first process, it gives the bus of its run.

    Returns:
        ``"completed"``, ``"diverged"`` or ``"interrupted"``.

    Raises:
        FailedError: a process died, hung or failed; the others were ended and run.json says ``failed``. The longest
            that this can take is the timeout and 15 seconds.
        ConfigError: a wrong layout or configuration.
        RunFolderError: as for one process.
    """
    kind = resolve_device(device)
    where.check(kind)
    make_sinks(sinks)
    config = _settled(config, folder, resume=resume, begins=where.node_rank == 0, trust=trust)
    check_shares(config, where.size)
    store, where = _meeting_place(where)
    options = {"resume": resume, "device": kind.type, "trust": trust, "sinks": tuple(sinks), "listen": listen}
    places = [Place(where.node_rank * where.devices + i, i, where.size) for i in range(where.devices)]
    jobs = [Job(f"process {p.rank}", _train_process, (p, config, folder, where, options)) for p in places]
    threads = None if "OMP_NUM_THREADS" in os.environ else max(1, usable_cores() // where.devices)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # for the processes: what fails is told in one line
    try:
        failures = run_jobs(jobs, Watcher(), n_processes=where.devices, n_threads=threads, stop_at_failure=True)
    except KeyboardInterrupt:
        mark_ended(folder, "interrupted", UNFINISHED)
        return "interrupted"
    finally:
        del store
    if failures:
        mark_ended(folder, "failed", UNFINISHED)
        name, reason = min(failures.items(), key=lambda failure: "another process" in failure[1])  # the cause first
        if isinstance(reason, Refusal):
            raise OverfitLabError(reason)
        again = f"; the run was ended, --resume goes on in {folder}" if layout.is_run(folder) else ""
        process = f"{name} of {where.size}"
        named = reason if reason.startswith(process) else f"{process}: {reason}"  # one that lost others names itself
        raise FailedError(f"{named}{again}")
    return DIVERGED if status_of(folder) == DIVERGED else "completed"


def _settled(config: RunConfig | None, folder: Path, *, resume: bool, begins: bool, trust: bool) -> RunConfig:
    """The complete configuration, and what would be refused later is refused now, before a process is started."""
    if resume:
        config = resumed_config(config, folder, trust)
    elif begins:
        check_place(folder)
    if config is None:
        raise ConfigError("a new run needs a configuration")
    return combine(config).config if resume else complete(config)


def _meeting_place(where: Layout) -> tuple[Store | None, Layout]:
    """The store that the processes meet at, kept by the first machine, and the layout with its port.

    Raises:
        ConfigError: the port is taken, or the host is not this machine.
    """
    if where.size == 1 or where.node_rank > 0:
        return None, where
    waits = timedelta(seconds=where.timeout)
    host = LOCAL if where.nodes == 1 else where.host
    try:
        store = TCPStore(host, where.port, is_master=True, wait_for_workers=False, timeout=waits)
    except (RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())[:200]
        raise ConfigError(f"--rendezvous {where.host}:{where.port}: cannot be listened at ({text})") from error
    return store, replace(where, port=store.port)


def _train_process(
    report: Report, place: Place, config: RunConfig, folder: Path, where: Layout, options: dict[str, Any]
) -> None:
    """One process of the run."""
    if where.nodes == 1:
        _stay_on_this_machine()
    store = _reach(where) if where.size > 1 else None
    if train_as_one(place, config, folder, store=store, timeout=where.timeout, **options) == "interrupted":
        raise KeyboardInterrupt


@dataclass(frozen=True)
class Place:
    """Which process of a run this one is: its number, that on its machine, and how many there are."""

    rank: int
    local_rank: int
    size: int


def train_as_one(
    place: Place,
    config: RunConfig,
    folder: Path,
    *,
    store: Store | None = None,
    timeout: float = TIMEOUT,
    device: str = "auto",
    listen: Listen | None = None,
    **options: Any,
) -> str:
    """Train as one of the processes of a run, whoever started them; all of them call this.

    Args:
        store: where the processes meet; None: at MASTER_ADDR and MASTER_PORT.
        timeout: seconds after which a process that does not answer is given up.
        device: ``auto``, ``cpu`` or ``cuda``; of several CUDA devices that of the number on this machine.
        listen: gives the bus of the run in the first process, by the folder's name.
        **options: ``resume``, ``trust`` and ``sinks`` of :func:`overfit_lab.training.run.train_run`.

    Returns:
        ``"completed"`` or ``"interrupted"``.

    Raises:
        LostProcessError: another process is gone or does not answer.
        OverfitLabError: as :func:`overfit_lab.training.run.train_run`.
    """
    if resolve_device(device).type == "cuda":
        torch.cuda.set_device(place.local_rank)
    synchronised = config.compute.batch_norm == "synchronised"
    listening = listen(folder.name) if listen is not None and place.rank == 0 else nullcontext(None)
    meeting = joined(place.rank, place.size, store=store, timeout=timeout, synchronised=synchronised)
    with meeting as world, listening as bus:
        return train_run(config, folder, device=device, bus=bus, on_note=to_stderr, world=world, **options)


def _reach(where: Layout) -> TCPStore:
    """The store that the first machine keeps.

    Raises:
        LostProcessError: it is not there.
    """
    try:
        return TCPStore(where.host, where.port, is_master=False, timeout=timedelta(seconds=where.timeout))
    except RuntimeError as error:
        raise LostProcessError(f"{where.host}:{where.port} was not reached within {where.timeout:g} s") from error


def _stay_on_this_machine() -> None:
    """Have gloo talk over the loopback interface, whatever this machine's name resolves to."""
    with suppress(OSError):
        if "lo" in (name for _, name in socket.if_nameindex()):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
