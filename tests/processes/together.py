"""Functions that run in two processes which share batches, started once for many of them."""

import os
import pickle
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch
from torch import nn
from torch.distributed import TCPStore

from overfit_lab.processes.pool import Job, Watcher, run_jobs
from overfit_lab.processes.world import World, joined
from overfit_lab.training.build import build
from overfit_lab.training.dynamics import Dynamics
from overfit_lab.training.events import EpochEnded, EventBus, StepEnded
from overfit_lab.training.loop import train


def together(function: Callable, *arguments, folder: Path, n: int = 2, timeout=120.0) -> list:
    """``function(world, *arguments)`` in n processes; what each of them returned, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=timeout))
    jobs = [
        Job(f"process {rank}", _serve, (function, arguments, rank, n, store.port, folder, timeout)) for rank in range(n)
    ]
    failures = run_jobs(jobs, Watcher(), n_processes=n, n_threads=1, stop_at_failure=True)
    assert not failures, failures
    return [pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in range(n)]


def _serve(report, function, arguments, rank, n, port, folder, timeout):
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    store = TCPStore("127.0.0.1", port, is_master=False, timeout=timedelta(seconds=timeout))
    with joined(rank, n, store=store, timeout=timeout) as world:
        result = function(world, *arguments)
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(result))


def plain(n_classes, *, shape, mean=(0.0,), std=(1.0,)):
    """A network without batch norm."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], 24), nn.Tanh(), nn.Linear(24, n_classes)
    )


def trained(config, world, merged_at=(1,)):
    """What an epoch of training comes to: losses of the steps, numbers of the epoch, dynamics, memories, weights.

    After the steps ``merged_at`` the first process holds the dynamics, as for a checkpoint within the epoch.
    """
    session = build(config, torch.device("cpu"), world=world)
    session.dynamics = Dynamics(len(session.data.splits["train"]), session.device, world)
    losses, values, dynamics = [], {}, {}
    bus = EventBus()
    bus.on(StepEnded, lambda event: losses.append(float(event.loss)))

    def ended(event):
        for value in event.values:
            if "seconds" not in value.field:
                values[f"{value.field}/{value.split}"] = value.value

    def write(view, epoch, numbers, running, n_classes):
        dynamics.update({f"{view}/{name}": array.copy() for name, array in {**numbers, **running}.items()})

    bus.on(EpochEnded, ended)
    bus.on(EpochEnded, lambda event: session.dynamics.end_epoch(event.snapshot.clock.epoch, write))
    if merged_at:
        bus.on(StepEnded, lambda event: session.dynamics.merge() if event.clock.step in merged_at else None)
    train(session, bus)
    memories = dict(session.labels.state_dict())
    for name, regularizer in session.regularizers.items():
        memories |= {f"{name}.{key}": tensor for key, tensor in regularizer.state_dict().items()}
    return {
        "losses": torch.tensor(losses, dtype=torch.float64),
        "values": values,
        "dynamics": dynamics,
        "memories": {name: tensor.detach().clone() for name, tensor in memories.items()},
        "weights": {name: tensor.detach().clone() for name, tensor in session.model.state_dict().items()},
    }


def all_trained(world, configs):
    """What :func:`trained` gives of each configuration."""
    return {name: trained(config, world) for name, config in configs.items()}


def both_ways(world, configs, apart):
    """The same, and of some configurations with batch norm by each process for itself."""
    return all_trained(world, configs), all_trained(World(world.rank, world.size, synchronised=False), apart)
