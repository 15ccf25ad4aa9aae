"""How a run computes: its device, and what ``auto`` stands for in precision, compilation and memory layout."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

from overfit_lab.config import RunConfig
from overfit_lab.config.catalog import OBJECTIVES
from overfit_lab.errors import ConfigError
from overfit_lab.methods.attacks.pgd import PGD
from overfit_lab.methods.regularizers.average import batch_norms
from overfit_lab.models.compute.compiled import compile_attack, compile_model
from overfit_lab.models.compute.work import forward_flops, training_flops
from overfit_lab.training.session import Session
from overfit_lab.types import Dataset, to_float

logger = logging.getLogger(__name__)
WORTH_COMPILING = 1e14
"""Floating-point operations of a run from which on compiling its attack pays on a CPU: about a quarter of an hour."""


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
    """What ``auto`` stands for in a run.

    Mixed precision on CUDA alone. Compilation on CUDA for models that convolve, on the CPU for those whose training is
    so long that the seconds of compiling are made up for.
    """
    asked = config.compute
    convolves = any(isinstance(module, nn.Conv2d) for module in model.modules())
    precision = asked.precision
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    compiled = asked.compile
    if compiled == "auto":
        compiled = convolves and (device.type == "cuda" or run_flops(config, model, data) > WORTH_COMPILING)
    channels_last = convolves if asked.channels_last == "auto" else asked.channels_last
    return {"precision": precision, "compile": bool(compiled), "channels_last": bool(channels_last), "fold": asked.fold}


def run_flops(config: RunConfig, model: nn.Module, data: Dataset) -> int:
    """Floating-point operations that the updates and attacks of the whole run take, without evaluation."""
    attacked = OBJECTIVES[config.objective.name].needs_attack
    split = data.splits["train"]
    return training_flops(
        forward_flops(model, to_float(split.x[:1])),
        n_images=config.epochs * len(split),
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
