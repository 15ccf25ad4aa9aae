"""What `gpu.py` has its worker do; every function gives plain values. All of it runs on a CPU too, in miniature."""

from __future__ import annotations

import copy
import time
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from harness import take_turns
from setting import images, network
from torch import Tensor

from overfit_lab.config import RunConfig, apply_overrides
from overfit_lab.config.permission import allow
from overfit_lab.config.recipes import recipe
from overfit_lab.data.base import CIFAR10_CLASSES, CIFAR10_MEAN, CIFAR10_STD, RawData
from overfit_lab.models.compute.work import forward_flops, training_flops
from overfit_lab.probes.base import attempt, dry_run
from overfit_lab.records import layout
from overfit_lab.records.reader import Run
from overfit_lab.records.status import status_of
from overfit_lab.sweeps.cost.counting import made_up_data
from overfit_lab.sweeps.cost.data_shape import data_shape
from overfit_lab.training.build import build
from overfit_lab.training.capture import capture_training
from overfit_lab.training.compute import compile_training, resolve_device
from overfit_lab.training.evaluation import evaluate
from overfit_lab.training.events import EventBus, StepEnded
from overfit_lab.training.parts import make_probe
from overfit_lab.training.probing import probe_run
from overfit_lab.training.run import train_run
from overfit_lab.training.session import Session
from overfit_lab.training.step import take_step
from overfit_lab.training.tally import EpochTallies
from overfit_lab.types import Clock, to_float

MADE_UP = "gpu_jobs:made_up"
TINY = ("model={name: small-cnn, width: 2}", "batch_size=4", "attack.n_steps=1", "attack.n_restarts=1")
"""A recipe in miniature."""
PRECISIONS = {"fp32": ("fp32", False), "tf32": ("fp32", True), "bf16": ("bf16", True)}
"""A column's name to the run's precision, and whether float32 products may be rounded to tf32."""
EVALUATED = ("evaluation.n_train=1000", "evaluation.n_test=2000", "probes.n=500")
BRIEF_HESSIAN = "probes.options={hessian: {n: 128, max_probes: 10}}"
SHARE = 0.8
"""Of the time of a training, what its epochs are planned to take; the rest is for its beginning and its probes."""


def made_up(argument: str, *, root: Path | None, download: bool) -> RawData:
    """A data set where none is at hand: faint patterns in noise, in the form of CIFAR-10."""
    (x, y), (x_test, y_test) = ((_bytes(x), y) for x, y in (images(2048), images(512, seed=1)))
    return RawData(x, y, x_test, y_test, CIFAR10_CLASSES, CIFAR10_MEAN, CIFAR10_STD)


def _bytes(x: Tensor) -> Tensor:
    return (255 * x).round().to(torch.uint8)


def devices(device: str) -> dict[str, Any]:
    """What the device says of itself."""
    where = resolve_device(device)
    if where.type != "cuda":
        return {"device": "cpu", "threads": torch.get_num_threads()}
    properties = torch.cuda.get_device_properties(where)
    return {
        "device": properties.name,
        "memory_gb": round(properties.total_memory / 1e9, 1),
        "capability": list(torch.cuda.get_device_capability(where)),
        "bf16": torch.cuda.is_bf16_supported(),
        "cudnn": torch.backends.cudnn.version(),
    }


def use(precision: str) -> str:
    """Have float32 products be rounded as this column says; the run's precision."""
    compute, rounded = PRECISIONS[precision]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions of torch have other names for these
        torch.backends.cuda.matmul.allow_tf32 = rounded
        torch.backends.cudnn.allow_tf32 = rounded
    return compute


def settled(name: str, small: bool, sets: tuple[str, ...] = ()) -> RunConfig:
    """The configuration of a recipe, in miniature or as it is."""
    return apply_overrides(recipe(name), [*(TINY if small else ()), *sets])


def session_of(name: str, device: str, small: bool, sets: tuple[str, ...] = ()) -> Session:
    """A recipe's session on made-up images of its shape; teachers are copies of its network."""
    config, where = settled(name, small, sets), resolve_device(device)
    shape = data_shape(config.data, config.seed)
    if small:
        shape = replace(shape, shape=(shape.shape[0], min(shape.shape[1], 16), min(shape.shape[2], 16)))
    data = made_up_data(shape, 2 * config.batch_size, 16 if small else 256, where)
    session = build(config, where, data=data)
    assert session.teachers is not None
    session.teachers.load = lambda _: copy.deepcopy(session.model)
    return session


def step(session: Session, n: int) -> float:
    """The n-th step of a session; its loss, so that the device is waited for."""
    epoch = n // 2
    session.clock = Clock(epoch, n, session.config.epochs, float(epoch))
    session.tallies = EpochTallies(session.device, session.reference)
    batch = next(iter(session.loader.epoch(epoch, first=n % 2)))
    take_step(session, batch, EventBus(), len(batch.y))
    return float(session.tallies.steps.losses[0])


def prepared(session: Session) -> float:
    """Compile and capture as the session's settings say; the seconds."""
    began = time.perf_counter()
    compile_training(session)
    capture_training(session)
    return time.perf_counter() - began


def two_steps(name: str, device: str, small: bool, sets: tuple[str, ...] = ()) -> dict[str, Any]:
    """Two steps of a recipe, what they took, and what became of the settings of `compute`."""
    session = session_of(name, device, small, sets)
    if session.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = [prepared(session)]
    losses = []
    for n in range(2):
        began = time.perf_counter()
        losses.append(step(session, n))
        seconds.append(time.perf_counter() - began)
    finite = all(loss == loss and abs(loss) < 1e30 for loss in losses)
    if not finite:
        raise ArithmeticError(f"losses {losses} are not finite")
    names = ("seconds_preparing", "seconds_first", "seconds_second")
    memory = torch.cuda.max_memory_allocated() / 1e9 if session.device.type == "cuda" else None
    return {**dict(zip(names, seconds, strict=True)), "losses": losses, "compute": session.compute, "peak_gb": memory}


def of_data(data: str | None) -> str:
    """The key that says where the images are."""
    if data is None:
        allow(MADE_UP)
        return f"data.name={MADE_UP}"
    return f"data.name=parquet:{data}"


def resumed(folder: str, device: str, small: bool, data: str | None) -> dict[str, Any]:
    """A short run with every probe that it can have, as it is and interrupted in its second epoch and gone on with."""
    sizes = ("data.n_train=64", "data.n_test=32") if small else ("data.n_train=1024", "data.n_test=256")
    counts = ("evaluation.n_train=32", "evaluation.n_test=32", "evaluation.n_steps=2", "probes.n=32", "probes.every=1")
    plan = ("epochs=2", "schedule.milestones=[1]", "compute.compile=false", "probes.options={hessian: {max_probes: 4}}")
    sets = (of_data(data), *sizes, *counts, *plan, *(("batch_size=16",) if small else ()))
    config = settled("paper-cifar10-sglr", small, sets)
    config, refused = measurable(config, device, small, sets)
    n_batches = -(-config.data.n_train // config.batch_size)
    bus = EventBus()
    bus.on(StepEnded, lambda event: stop() if event.clock.step >= n_batches else None)
    whole, parts = Path(folder) / "whole", Path(folder) / "resumed"
    statuses = [
        train_run(config, whole, device=device),
        train_run(config, parts, device=device, bus=bus),
        train_run(None, parts, device=device, resume=True, trust=True),
    ]
    losses = [Run.open(path).series("training", "loss")["value"].tolist() for path in (whole, parts)]
    if statuses != ["completed", "interrupted", "completed"]:
        raise RuntimeError(f"the runs ended as {statuses}")
    gap = max(abs(a - b) / abs(a) for a, b in zip(*losses, strict=True))
    failures = layout.read_info(whole).get("failures", {})
    return {"losses": losses, "largest_relative_difference": gap, "refused": refused, "failures": failures}


def stop() -> None:
    """Interrupt a run."""
    raise KeyboardInterrupt


def measurable(config: RunConfig, device: str, small: bool, sets: tuple[str, ...]) -> tuple[RunConfig, dict[str, str]]:
    """The configuration without the probes that cannot be measured here, and why not, by probe."""
    snapshot = session_of("paper-cifar10-hard", device, small, tuple(s for s in sets if "data." not in s)).snapshot()
    refused = {}
    for name in config.probes.metrics:
        tried = attempt(lambda name=name: dry_run(make_probe(name, config.probes), snapshot))
        if tried is not None:
            refused[name] = tried.reason
    metrics = [name for name in config.probes.metrics if name not in refused]
    probes = config.probes.model_copy(update={"metrics": tuple(metrics)})
    return config.model_copy(update={"probes": probes}), refused


def probed(name: str, folder: str, device: str) -> dict[str, Any]:
    """A probe on the last weights of the short run; how many numbers it gave (`phases`: none of so few epochs)."""
    began = time.perf_counter()
    records = probe_run(Path(folder) / "whole", [name], device=device, save=False, trust=True)
    values = {f"{r.field} {r.split} {r.inputs}".strip(): r.value for r in records if r.value is not None}
    return {"n_records": len(records), "seconds": time.perf_counter() - began, "values": dict(list(values.items())[:6])}


def rate(precision: str, device: str, small: bool) -> dict[str, Any]:
    """GFLOP/s of square matrix products in a precision."""
    use(precision)
    size = 256 if small else 8192
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.rand(size, size, device=resolve_device(device)).to(dtype) for _ in range(2))
    seconds = take_turns({"product": lambda: a @ b}, rounds=15)["product"]
    return {"gflops": 2 * size**3 / seconds / 1e9, "size": size}


def timed(run: Any, device: torch.device, most_seconds: float, most: int = 30) -> float:
    """Seconds of a run, the mean of as many as there is time for, after three that do not count."""
    for _ in range(3):
        run()
    wait(device)
    began, n = time.perf_counter(), 0
    while n == 0 or (n < most and time.perf_counter() - began < most_seconds):
        run()
        wait(device)
        n += 1
    return (time.perf_counter() - began) / n


def wait(device: torch.device) -> None:
    """Until the device has done all that it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ours(
    batch: int, precision: str, compiled: bool, graph: bool, device: str, small: bool, most_seconds: float = 4.0
) -> dict[str, Any]:
    """A training step of PGD-10 and ResNet-18: seconds, images and operations a second."""
    sets = (f"compute.precision={use(precision)}", f"compute.compile={compiled}", f"compute.graph={graph}".lower())
    session = session_of("paper-cifar10-hard", device, small, (f"batch_size={batch}", *sets))
    preparing = prepared(session)
    seconds = timed(partial(step, session, 0), session.device, most_seconds)
    return {**speed(session.model, session, batch, seconds), "seconds_preparing": preparing, "compute": session.compute}


def theirs(
    which: str, batch: int, precision: str, device: str, small: bool, most_seconds: float = 4.0
) -> dict[str, Any]:
    """The same by a naive loop or by torchattacks, whose network is PreAct-ResNet-18 of the same width."""
    from training_step import Trainer, naive_attack, torchattacks_attack

    where, dtype = resolve_device(device), torch.bfloat16 if use(precision) == "bf16" else None
    attack = {"naive": naive_attack, "torchattacks": torchattacks_attack}[which]
    if which == "torchattacks":
        import torchattacks  # noqa: F401 (what is missing is said before anything is timed)
    trainer = Trainer(network(2 if small else 64, steps=0).to(where), attack, naive=which == "naive")
    x, y = (t.to(where) for t in images(batch))

    def run() -> None:
        with torch.autocast(where.type, dtype=dtype, enabled=dtype is not None):
            trainer.step(x, y)

    seconds = timed(run, where, most_seconds)
    work = training_flops(forward_flops(trainer.model, x[:1]), n_images=batch, attack_steps=10)
    return {"seconds_step": seconds, "images_per_second": batch / seconds, "gflops": work / seconds / 1e9}


def speed(model: torch.nn.Module, session: Session, batch: int, seconds: float) -> dict[str, float]:
    """Seconds of a step as images and operations a second."""
    x, steps = to_float(session.data.splits["train"].x[:1]), session.config.attack.n_steps
    work = training_flops(forward_flops(model, x), n_images=batch, attack_steps=steps)
    return {"seconds_step": seconds, "images_per_second": batch / seconds, "gflops": work / seconds / 1e9}


def trained(name: str, folder: str, device: str, small: bool, data: str | None, seconds: float) -> dict[str, Any]:
    """A recipe as long as there is time for, decays at 1/2 and 3/4, with all probes that can be had; or the rest of it.

    Args:
        folder: of the run; one that is there already is gone on with.
        seconds: most that it may take. A run that is not done then is interrupted, and can be gone on with.
    """
    deadline = time.monotonic() + seconds
    path, plan = Path(folder), {}
    bus = EventBus()
    bus.on(StepEnded, lambda _: stop() if time.monotonic() > deadline else None)
    of_data(data)  # a run of made-up images names this file
    if not layout.is_run(path):
        config, plan = planned(name, device, small, data, seconds)
        status = train_run(config, path, device=device, bus=bus)
    elif (status := str(status_of(path))) != "completed":
        status = train_run(None, path, device=device, bus=bus, resume=True, trust=True)
    return {"status": status, **plan, **found(path)}


def planned(name: str, device: str, small: bool, data: str | None, seconds: float) -> tuple[RunConfig, dict[str, Any]]:
    """The configuration of a recipe whose epochs fit a time, from measured steps and a measured evaluation."""
    began = time.monotonic()
    counts = ("data.n_train=256", "data.n_test=64") if small else ()
    evaluated = ("evaluation.n_train=32", "evaluation.n_test=32", "probes.n=32") if small else EVALUATED
    sets = (
        of_data(data),
        *counts,
        *evaluated,
        BRIEF_HESSIAN,
        *(("batch_size=64", "attack.n_steps=2") if small else ()),
    )
    config = settled(name, small, sets)
    session = session_of(name, device, small, tuple(s for s in sets if not s.startswith("data.")))
    preparing = prepared(session)
    step_seconds = timed(partial(step, session, 0), session.device, 1.0 if small else 8.0)
    snapshot = session.snapshot()
    few = session.config.evaluation.model_copy(update={"n_train": None, "n_test": None})
    evaluation = evaluation_seconds(snapshot, few) * (config.evaluation.n_train + config.evaluation.n_test)
    n_train = config.data.n_train or (50_000 if data is not None else 2_048)
    n_batches = -(-n_train // config.batch_size)
    before = time.monotonic()
    config, refused = measurable(config, device, small, sets)
    # the run begins with what was done here once: compiling, and every probe on a few samples
    left = seconds - (time.monotonic() - began) - preparing - (time.monotonic() - before)
    n = max(4, min(config.epochs, int(SHARE * left / (n_batches * step_seconds + evaluation))))
    n = min(n, 4) if small else n
    plan = (f"epochs={n}", f"schedule.milestones=[{n // 2},{3 * n // 4}]", f"probes.every={max(1, n // 2)}")
    config = apply_overrides(config, [*plan, f"checkpoint.steps={max(1, int(60 / step_seconds))}"])
    said = {"epochs": n, "seconds_step": step_seconds, "seconds_evaluation": evaluation, "refused": refused}
    return config, {**said, "compute_tried": session.compute}


def evaluation_seconds(snapshot: Any, config: Any) -> float:
    """Seconds of evaluation an image."""
    n = sum(len(split) for name, split in snapshot.data.splits.items() if name in ("train", "test"))
    began = time.perf_counter()
    evaluate(snapshot, config)
    return (time.perf_counter() - began) / n


def found(path: Path) -> dict[str, Any]:
    """The accuracies of a run so far, and how it computed."""
    run = Run.open(path)
    series = {field: run.series("evaluation", field, "test")["value"].tolist() for field in ("acc_clean", "acc_adv")}
    return {**series, "epochs_done": len(series["acc_clean"]), "compute": run.info.get("compute", {})}
