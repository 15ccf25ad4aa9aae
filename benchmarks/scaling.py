"""One and two processes on one machine: a step of PGD-10 training, ours and that of a plain loop under torch's DDP.

`python benchmarks/scaling.py` on a machine with nothing else to do; a thread a process. Writes results/scaling.json,
of which docs/scaling.md makes its table.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from setting import images  # noqa: E402
from training_step import naive_attack  # noqa: E402

from overfit_lab.config import apply_overrides  # noqa: E402
from overfit_lab.config.recipes import recipe  # noqa: E402
from overfit_lab.data.dataset import dataset_from_arrays  # noqa: E402
from overfit_lab.models.factory import build_model  # noqa: E402
from overfit_lab.processes.pool import Job, Watcher, run_jobs  # noqa: E402
from overfit_lab.processes.world import World, joined  # noqa: E402
from overfit_lab.records.environment import git_revision, hardware, now, versions  # noqa: E402
from overfit_lab.training.build import build  # noqa: E402
from overfit_lab.training.events import EventBus, StepEnded  # noqa: E402
from overfit_lab.training.loop import train_epoch  # noqa: E402

N, BATCH = 2560, 128
WIDTHS = (16, 32)
"""Channels of the first layer: as in cifar10-small, and with some four times the arithmetic."""
CPU = torch.device("cpu")


def config_of(batch_norm: str, width: int):
    """The training of cifar10-small-hard without evaluation."""
    changes = [f"compute.batch_norm={batch_norm}", "compute.compile=false", "probes.metrics=none", "epochs=9"]
    return apply_overrides(
        recipe("cifar10-small-hard"), [*changes, "evaluation.every=9", f"batch_size={BATCH}", f"model.width={width}"]
    )


def data():
    """Made-up images in memory."""
    x, y = images(N)
    pixels = (x * 255).round().to(torch.uint8)
    return dataset_from_arrays((pixels, y), (pixels[:64], y[:64]), class_names=[str(k) for k in range(10)])


def ours(world: World, batch_norm: str, width: int, steps: int) -> list[float]:
    """Seconds of each step, the exchange of gradients among them."""
    session = build(config_of(batch_norm, width), CPU, data=data(), world=world)
    session.config = session.config.model_copy(update={"epochs": 9})
    times: list[float] = []
    bus = EventBus()

    class Done(Exception):
        """Enough steps were taken."""

    def ended(event: StepEnded) -> None:
        times.append(time.perf_counter())
        if len(times) > steps:
            raise Done

    bus.on(StepEnded, ended)
    with suppress(Done):
        train_epoch(session, bus)
    return [b - a for a, b in pairwise(times)]


def plain(world: World, batch_norm: str, width: int, steps: int) -> list[float]:
    """The same of a loop as papers' code has it, its model wrapped by DistributedDataParallel where there are two."""
    model: nn.Module = build_model(config_of("per-device", width).model, data(), CPU, seed=0)
    wrapped = nn.parallel.DistributedDataParallel(model) if world.size > 1 else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    x, y = images(N)
    times = []
    for step in range(steps + 1):
        own = slice(step * BATCH % N + world.rank, step * BATCH % N + BATCH, world.size)
        train_plainly(wrapped, model, optimizer, x[own], y[own])
        times.append(time.perf_counter())
    return [b - a for a, b in pairwise(times)]


def train_plainly(wrapped: nn.Module, model: nn.Module, optimizer: Any, x: Tensor, y: Tensor) -> None:
    """Attack on the bare model in eval mode, then a step of the wrapped one."""
    model.eval()
    x_adv = naive_attack(model, x, y)
    wrapped.train()
    loss = functional.cross_entropy(wrapped(x_adv), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


CONTENDERS: dict[str, tuple[Callable[[World, str, int, int], list[float]], str, int]] = {
    "overfit-lab": (ours, "synchronised", 1),
    "overfit-lab, batch norm synchronised": (ours, "synchronised", 2),
    "overfit-lab, batch norm per device": (ours, "per-device", 2),
    "plain loop": (plain, "", 1),
    "plain loop under DDP, batch norm per device": (plain, "", 2),
}


def serve(report: Any, name: str, width: int, rank: int, port: int, steps: int, out: Path) -> None:
    """One process of a contender."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    function, batch_norm, size = CONTENDERS[name]
    store = dist.TCPStore("127.0.0.1", port, is_master=False) if size > 1 else None
    with joined(rank, size, store=store, timeout=120, synchronised=batch_norm == "synchronised") as world:
        times = function(world, batch_norm, width, steps)
    if rank == 0:
        out.write_text(json.dumps(times))


def measure(name: str, width: int, steps: int) -> float:
    """Median seconds of a step, in fresh processes."""
    _, _, size = CONTENDERS[name]
    out = HERE / "results" / ".scaling.partial"
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=120))
    jobs = [Job(f"process {rank}", serve, (name, width, rank, store.port, steps, out)) for rank in range(size)]
    failures = run_jobs(jobs, Watcher(), n_processes=size, n_threads=1, stop_at_failure=True)
    if failures:
        raise SystemExit(f"{name}: {failures}")
    times = json.loads(out.read_text())
    out.unlink()
    return statistics.median(times[1:])


def rows_of(width: int, seconds: dict[str, float]) -> list[dict[str, Any]]:
    """A row a contender; the speed-up is over the same code in one process."""
    rows = []
    for name, (function, _, size) in CONTENDERS.items():
        one = next(seconds[other] for other, (f, _, n) in CONTENDERS.items() if f is function and n == 1)
        row = {"contender": name, "width": width, "processes": size, "seconds": round(seconds[name], 4)}
        per_second = round(BATCH / seconds[name], 1)
        rows.append({**row, "images_per_second": per_second, "speedup": round(one / seconds[name], 2)})
    return rows


def main() -> None:
    """Take turns, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for width in WIDTHS:
        found: dict[str, list[float]] = {name: [] for name in CONTENDERS}
        for _ in range(given.rounds):
            for name in CONTENDERS:
                found[name].append(measure(name, width, given.steps))
                print(f"width {width}, {name}: {found[name][-1]:.3f} s a step", flush=True)
        rows += rows_of(width, {name: statistics.median(times) for name, times in found.items()})
    content = {
        "what": f"PGD-10 step of cifar10-small's network, batch {BATCH} in all, one thread a process, medians",
        "date": now(),
        "git_revision": git_revision(),
        "hardware": hardware(CPU),
        "load_before": os.getloadavg()[0],
        "versions": versions(),
        "rows": rows,
    }
    (HERE / "results" / "scaling.json").write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
