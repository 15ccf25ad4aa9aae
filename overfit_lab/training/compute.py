"""How a run computes: its device, and what ``auto`` stands for in precision, threads, compilation and memory layout."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from overfit_lab.config import ComputeConfig, RunConfig
from overfit_lab.config.catalog import OBJECTIVES
from overfit_lab.errors import ConfigError
from overfit_lab.methods.attacks.pgd import PGD
from overfit_lab.methods.regularizers.average import batch_norms
from overfit_lab.models.compute.compiled import compile_attack, compile_model
from overfit_lab.models.compute.machine import multiplies_bf16_faster
from overfit_lab.models.compute.work import forward_flops, training_flops
from overfit_lab.records import layout
from overfit_lab.records.environment import instructions
from overfit_lab.training.session import Session
from overfit_lab.types import Dataset, to_float

logger = logging.getLogger(__name__)
WORTH_COMPILING = 1e14
"""Floating-point operations of a run from which on compiling its attack pays on a CPU: about a quarter of an hour."""
WORTH_NARROWING = 5e6
"""Those of an image's forward pass from which on bf16 pays on a CPU that is fast at it; below, casts eat the gain."""
WORTH_SHARING = 1e8
"""Those of a batch's forward pass from which on a second thread pays: below, threads wait for each other."""
KEPT = ("precision", "compile", "threads")
"""What a run that is resumed goes on with, whatever ``auto`` would be now."""


def resolve_device(name: str) -> torch.device:
    """The device of a name: ``auto`` is CUDA where there is a CUDA device, else the CPU.

    Raises:
        ConfigError: unknown, or CUDA asked for and absent.
    """
    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    if name not in ("cpu", "cuda"):
        raise ConfigError(f"device {name!r}: expected auto, cpu or cuda")
    if name == "cuda" and not available:
        raise ConfigError("device 'cuda': torch sees no CUDA device here; use --device cpu or auto")
    return torch.device(name)


def resolve_compute(config: RunConfig, model: nn.Module, data: Dataset, device: torch.device) -> dict[str, Any]:
    """What ``auto`` stands for in a run: by rules, never by a timing, so that it is the same on a busy machine.

    Bfloat16 where the device multiplies it faster; on the CPU for networks that convolve and do enough of it.
    Compilation on CUDA for models that convolve, on the CPU for those whose training is so long that the seconds of
    compiling are made up for. Torch's threads where a batch is worth sharing, else one.
    """
    asked = config.compute
    convolves = any(isinstance(module, nn.Conv2d) for module in model.modules())
    image = forward_flops(model, to_float(data.splits["train"].x[:1]))
    precision = asked.precision
    if precision == "auto":
        pays = device.type == "cuda" or (convolves and image >= WORTH_NARROWING)
        precision = "bf16" if pays and multiplies_bf16_faster(device, instructions()) else "fp32"
    compiled = asked.compile
    if compiled == "auto":
        compiled = convolves and (device.type == "cuda" or run_flops(config, data, image) > WORTH_COMPILING)
    channels_last = convolves if asked.channels_last == "auto" else asked.channels_last
    threads = asked.threads
    if threads == "auto":
        batch = image * min(config.batch_size, len(data.splits["train"]))
        threads = torch.get_num_threads() if batch >= WORTH_SHARING else 1
    return {
        "precision": precision,
        "compile": bool(compiled),
        "channels_last": bool(channels_last),
        "fold": asked.fold,
        "threads": threads,
    }


def settle_compute(session: Session, folder: Path, *, resume: bool) -> list[str]:
    """Have all processes of a run compute as its first one does, and a resumed run as it did before.

    Threads are those of each process, so they stay where there are as many processes as before. Call it in every
    process, before the first step.

    Returns:
        What the user should know, each in a line.
    """
    notes: list[str] = []

    def settled() -> dict[str, Any]:
        compute = dict(session.compute)
        info = layout.read_info(folder) if resume else {}
        before = _recorded(info)
        if info.get("processes", 1) != session.world.size:
            before.pop("threads", None)
        for key, kept in before.items():
            now = compute[key]
            if kept != now and getattr(session.config.compute, key) == "auto":
                notes.append(f"compute.{key} stays {kept}, as the run began; here it would be {now}")
                compute[key] = kept
        return compute

    session.compute = session.world.run_on_rank(0, settled)
    return notes


def _recorded(info: dict[str, Any]) -> dict[str, Any]:
    """How a run computed, as its run.json says; nothing where that says what cannot be."""
    compute = info.get("compute")
    there = {key: compute[key] for key in KEPT if key in compute} if isinstance(compute, dict) else {}
    try:
        settings = ComputeConfig.model_validate(there)
    except ValidationError:
        return {}
    return {key: value for key in there if (value := getattr(settings, key)) != "auto"}


@contextmanager
def computing_on(threads: int) -> Iterator[None]:
    """So many threads of torch inside; before and after, what there was."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run_flops(config: RunConfig, data: Dataset, image: int) -> int:
    """Floating-point operations that the updates and attacks of the whole run take, without evaluation.

    Args:
        image: those of an image's forward pass.
    """
    attacked = OBJECTIVES[config.objective.name].needs_attack
    return training_flops(
        image,
        n_images=config.epochs * len(data.splits["train"]),
        attack_steps=config.attack.n_steps * config.attack.n_restarts if attacked else 0,
    )


def compile_training(session: Session) -> None:
    """Compile what the run's settings say: the attack, and on CUDA, or where no folded network is attacked, the model.

    Where that fails training goes on without; a warning and the run's record (``fallback``) say so.
    """
    compute = session.compute
    if not compute["compile"]:
        return
    split = session.data.splits["train"]
    n = session.share(session.loader.batch_size).size
    x = to_float(split.x[torch.arange(n, device=session.device) % len(split)])
    attack = session.attack
    reasons = {}
    with session.autocast():  # which decides what the attack climbs on
        climbs_on_another = isinstance(attack, PGD) and attack.ascended(session.model, x) is not session.model
    if session.objective.needs_attack and climbs_on_another:
        reasons["attack"] = compile_attack(session.model, x, session.autocast)
    if (session.device.type == "cuda" or not reasons) and not _exchanges_statistics(session):
        reasons["model"] = compile_model(session.model, x, session.autocast)
    failed = {part: reason for part, reason in reasons.items() if reason is not None}
    compute["compile"] = len(failed) < len(reasons)
    if failed:
        compute["fallback"] = "; ".join(f"{part} not compiled: {reason}" for part, reason in failed.items())
        logger.warning("overfit-lab: %s; training goes on without", compute["fallback"])


def _exchanges_statistics(session: Session) -> bool:
    """Whether processes exchange statistics in the midst of a forward pass, which compiled code would leave out."""
    synchronised = session.world.size > 1 and session.config.compute.batch_norm == "synchronised"
    return synchronised and any(batch_norms(session.model))
