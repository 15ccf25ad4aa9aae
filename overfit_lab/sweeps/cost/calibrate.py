"""A device's rate, measured on a run's own network at its own batch size."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import torch

from overfit_lab.config import NoiseConfig, ProbesConfig
from overfit_lab.sweeps.cost.counting import Work, made_up_data, take_chunk, take_step
from overfit_lab.sweeps.cost.hardware import Hardware
from overfit_lab.sweeps.cost.workload import Workload, chunk_of
from overfit_lab.training.build import build
from overfit_lab.training.compute import compile_training

STEPS = 3


def calibrate(work: Workload, device: torch.device, *, steps: int = STEPS) -> Hardware:
    """Measure a device by a few steps of this run's last epoch, on images of noise.

    On a CPU the times of a step and of an evaluated chunk give two numbers: a rate, and the seconds of an operation
    beside its arithmetic. Elsewhere all of a step's seconds count as arithmetic. The result holds for this network and
    these sizes alone. Teachers are copies of the network.

    Cost: ``steps + 1`` training steps, two chunks of evaluation, and compiling where the run compiles;
        the memory of a run of one batch.
    """
    data = work.config.data.model_copy(update={"noise": NoiseConfig()})
    config = work.config.model_copy(update={"probes": ProbesConfig(), "data": data})
    with torch.random.fork_rng(devices=[]):
        images = made_up_data(work.data, work.batch, chunk_of(config, work.data), device)
        session = build(config, device, data=images)
        if session.teachers is not None:
            session.teachers.load = lambda _: copy.deepcopy(session.model)
        compile_training(session)
        times = [_seconds(lambda: take_step(session, config.epochs - 1), device) for _ in range(steps + 1)]
        chunk = min(_seconds(lambda: take_chunk(session), device) for _ in range(2))
    step, (_, counted) = min(times[1:]), work.counts.epochs[-1]
    rate, op_seconds = counted.work.flops / step, 0.0
    if device.type == "cpu":
        rate, op_seconds = solve((counted.work, step), (work.counts.chunk, chunk))
    cpu = f"this CPU, {torch.get_num_threads()} threads"
    return Hardware(
        title=torch.cuda.get_device_name(device) if device.type == "cuda" else cpu,
        peak={(precision := str(session.compute["precision"])): rate, "fp32": rate},
        share={precision: 1.0, "fp32": 1.0},
        op_seconds=op_seconds,
        overlaps=False,
        source=f"the best of {steps} steps of this run",
        measured=True,
    )


def solve(first: tuple[Work, float], second: tuple[Work, float]) -> tuple[float, float]:
    """Floating-point operations a second and seconds an operation, from two sorts of work and the seconds of each.

    Of the first alone, and no seconds, where the two allow none.
    """
    (a, t), (b, u) = first, second
    determinant = a.flops * b.calls - b.flops * a.calls
    if determinant:
        inverse = (t * b.calls - u * a.calls) / determinant
        op_seconds = (a.flops * u - b.flops * t) / determinant
        if inverse > 0 and op_seconds > 0:
            return 1 / inverse, op_seconds
    return a.flops / t, 0.0


def _seconds(action: Callable[[], object], device: torch.device) -> float:
    """Seconds of an action."""
    wait: Callable[[], object] = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    began = time.perf_counter()
    action()
    wait()
    return time.perf_counter() - began
