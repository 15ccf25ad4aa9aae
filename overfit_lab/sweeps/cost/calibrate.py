"""A device's rate, measured on a run's own network at its own batch size."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence

import torch

from overfit_lab.config import NoiseConfig, ProbesConfig
from overfit_lab.sweeps.cost.hardware import Hardware
from overfit_lab.sweeps.cost.workload import Work, Workload, work_of
from overfit_lab.training.build import build, compile_training
from overfit_lab.training.events import EventBus
from overfit_lab.training.session import Session
from overfit_lab.training.step import train_step
from overfit_lab.types import Clock, Dataset, Split

STEPS = 3


def calibrate(work: Workload, device: torch.device, *, steps: int = STEPS) -> Hardware:
    """The device as this run finds it: the best of a few steps, on images of noise.

    Two readings, a step and a chunk of an evaluation under attack, give two numbers on a CPU: a rate, and what an
    operation costs beside its arithmetic. Where they give none, as on a GPU, all of a step's seconds are put down to
    its arithmetic. Either way the device is good for runs of this network and these sizes, and for no other. The steps
    are as those of the last epoch. Teachers are copies of the network.

    Args:
        work: the run.
        device: where steps are timed.
        steps: how many, after one to warm up.

    Returns:
        The device, with its rate in the run's precision.

    Cost: ``steps + 1`` training steps, two chunks of evaluation, and compiling where the run compiles;
        the memory of a run of one batch.
    """
    with torch.random.fork_rng(devices=[]):
        session = _session(work, device)
        compile_training(session)
        step = min([_timed(session, _step) for _ in range(steps + 1)][1:])
        chunk = min([_timed(session, _chunk) for _ in range(2)])
    on_cpu = device.type == "cpu"
    readings = [(step_work(work), step), (chunk_work(work), chunk)]
    rate, op_seconds = solve(readings) if on_cpu else (step_work(work).flops / step, 0.0)
    precision = str(session.compute["precision"])
    if device.type == "cuda":
        title = torch.cuda.get_device_name(device)
    else:
        title = f"this CPU, {torch.get_num_threads()} threads"
    return Hardware(
        title=title,
        peak=dict.fromkeys((precision, "fp32"), rate),
        share=dict.fromkeys((precision, "fp32"), 1.0),
        op_seconds=op_seconds,
        overlaps=False,
        source=f"the best of {steps} steps of this run",
        measured=True,
    )


def solve(readings: Sequence[tuple[Work, float]]) -> tuple[float, float]:
    """Rate and seconds an operation of two readings; of the first alone, and no seconds, where they allow none.

    Args:
        readings: work, and the seconds that it took.

    Returns:
        Floating-point operations a second, and seconds an operation.
    """
    (first, t), (second, u) = readings
    determinant = first.flops * second.calls - second.flops * first.calls
    if determinant:
        inverse = (t * second.calls - u * first.calls) / determinant
        op_seconds = (first.flops * u - second.flops * t) / determinant
        if inverse > 0 and op_seconds > 0:
            return 1 / inverse, op_seconds
    return first.flops / t, 0.0


def step_work(work: Workload) -> Work:
    """One of the last epoch's steps on a whole batch."""
    n = min(work.config.batch_size, work.data.n_train)
    others = sum(work.rehearsal.others[work.rehearsal.last].values())
    return work_of(work.rehearsal.last_step(), work.network, n, 1, others)


def chunk_work(work: Workload) -> Work:
    """One chunk of an evaluation of test images."""
    passes = {kind: n for (_, kind), n in work.rehearsal.evaluation.items()}
    return work_of(passes, work.network, _chunk_size(work), 1, work.rehearsal.evaluation_calls)


def _chunk_size(work: Workload) -> int:
    return min(work.config.evaluation.chunk, work.data.n_test)


def _session(work: Workload, device: torch.device) -> Session:
    config = work.config.model_copy(
        update={
            "probes": ProbesConfig(),
            "data": work.config.data.model_copy(update={"noise": NoiseConfig()}),
        }
    )
    session = build(config, device, data=_noise(work, device))
    if session.teachers is not None:
        session.teachers.load = lambda _: copy.deepcopy(session.model)
    epoch = config.epochs - 1
    session.clock = Clock(epoch, epoch, config.epochs, float(epoch))
    for group in session.optimizer.param_groups:
        group["lr"] = 0.0
    return session


def _timed(session: Session, action: Callable[[Session], None]) -> float:
    """Seconds of an action."""
    _wait(session.device)
    began = time.perf_counter()
    action(session)
    _wait(session.device)
    return time.perf_counter() - began


def _step(session: Session) -> None:
    train_step(session, next(iter(session.loader.epoch(0))), EventBus())
    session.optimizer.step()


def _chunk(session: Session) -> None:
    snapshot = session.snapshot()
    given = {"clean": True, "adversarial": snapshot.attack, "noisy": snapshot.corruption}
    for inputs, attack in given.items():
        if attack is not None:
            snapshot.view("test", inputs)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _noise(work: Workload, device: torch.device) -> Dataset:
    """Random images: a batch to train on and a chunk to evaluate."""
    generator = torch.Generator().manual_seed(0)
    shape, splits = work.data, {}
    sizes = {"train": work.config.batch_size, "val": work.config.batch_size, "test": _chunk_size(work)}
    for name, size in shape.sizes.items():
        if size:
            n = min(sizes[name], size)
            x = torch.randint(0, 256, (n, *shape.shape), generator=generator, dtype=torch.uint8).to(device)
            y = torch.randint(0, shape.n_classes, (n,), generator=generator).to(device)
            mask = torch.zeros(n, dtype=torch.bool, device=device)
            splits[name] = Split(name, x, y, y.clone(), mask, torch.arange(n, device=device))
    c = shape.shape[0]
    return Dataset("noise", splits, tuple(map(str, range(shape.n_classes))), (0.0,) * c, (1.0,) * c)
