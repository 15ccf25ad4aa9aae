"""The parts of a run, each made from its part of the configuration."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from overfit_lab.config import AttackConfig, EvaluationConfig, ProbesConfig, RunConfig, parse_size
from overfit_lab.config.catalog import ATTACKS, PROBES
from overfit_lab.config.options import accepted, parse_options
from overfit_lab.data.augment import Augmenter
from overfit_lab.data.loader import EpochLoader, Loader
from overfit_lab.data.stream_loader import StreamLoader
from overfit_lab.data.streamed import StreamedImages
from overfit_lab.methods.attacks.base import Attack
from overfit_lab.methods.combination import Combination
from overfit_lab.methods.labels.base import LabelContext
from overfit_lab.methods.regularizers.base import Regularizer, RegularizerContext
from overfit_lab.methods.teachers import Teachers
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.probes.base import Probe
from overfit_lab.types import Dataset


def build_attack(
    config: AttackConfig, evaluation: EvaluationConfig | None = None, *, fold: bool = True
) -> Attack | None:
    """The training attack, or the evaluation's where its settings are given; None where it takes no steps.

    Args:
        config: the training attack.
        evaluation: settings that replace it.
        fold: let it climb on the model's folded network.

    In evaluation batch norm is always in eval mode, and eps is that of the end of an eps schedule.
    """
    name = config.name
    threat = ThreatModel(norm=config.norm, eps=config.eps)
    settings: dict[str, Any] = {
        "step_size": config.step_size,
        "n_steps": config.n_steps,
        "n_restarts": config.n_restarts,
        "random_start": config.random_start,
        "bn_mode": config.bn_mode,
        "fold": fold,
    }
    if evaluation is not None:
        if evaluation.n_steps == 0:
            return None
        settings["n_steps"] = evaluation.n_steps
        settings["n_restarts"] = evaluation.n_restarts
        settings["bn_mode"] = "eval"
        name = evaluation.attack
        if evaluation.step_size is not None:
            settings["step_size"] = evaluation.step_size
        settings["n_queries"] = evaluation.n_queries
    attack: Attack = ATTACKS[name](threat, **accepted(ATTACKS[name], settings))
    return attack


def build_corruption(config: AttackConfig, evaluation: EvaluationConfig) -> Attack | None:
    """The noise that accuracy is measured under besides; None where none is named."""
    if evaluation.corruption is None:
        return None
    noise: Attack = ATTACKS[evaluation.corruption](ThreatModel(norm=config.norm, eps=config.eps))
    return noise


def build_black_box(config: AttackConfig, evaluation: EvaluationConfig) -> Attack:
    """The attack of black-box inputs: Square, in the threat model of training."""
    attack: Attack = ATTACKS["square"](ThreatModel(norm=config.norm, eps=config.eps), n_queries=evaluation.n_queries)
    return attack


def make_probe(name: str, config: ProbesConfig, key: str = "probes.options") -> Probe:
    """One probe with the options that the configuration gives it.

    Raises:
        ConfigError: unknown metric, or an option that it does not take.
    """
    cls = PROBES[name]
    defaults: dict[str, Any] = {"splits": config.splits, "inputs": config.inputs}
    if config.n is not None:
        defaults["n"] = config.n
    set_for_probe = {PROBES.canonical(other): values for other, values in config.options.items()}.get(
        PROBES.canonical(name), {}
    )
    options = parse_options(cls, {**defaults, **set_for_probe}, prefix=f"{key}.{name}")
    probe: Probe = cls(options)
    return probe


def make_probes(config: ProbesConfig) -> list[Probe]:
    """Every probe of a configuration, in its order."""
    for name in config.options:
        PROBES[name]
    return [make_probe(name, config) for name in config.metrics]


def label_context(config: RunConfig, data: Dataset, teachers: Teachers) -> LabelContext:
    """What a label mode is made with, beside its options."""
    return LabelContext(
        labels=data.splits["train"].y,
        n_classes=data.n_classes,
        n_epochs=config.epochs,
        teacher=teachers,
        place=config.compute.label_memory,
        limit=parse_size(config.compute.label_memory_limit),
    )


def build_regularizers(run: Combination, data: Dataset, model: nn.Module, teachers: Teachers) -> dict[str, Regularizer]:
    """The regularizers by name, in the order in which they are applied."""
    config = run.config
    robust = run.objective.robust and config.evaluation.n_steps > 0
    context = RegularizerContext(
        model=model,
        train=data.splits["train"],
        n_epochs=config.epochs,
        seed=config.seed,
        robust=robust,
        has_validation="val" in data.splits,
        teacher=teachers,
    )
    return {name: choice.make(context) for name, choice in run.added.items()}


def build_loader(config: RunConfig, data: Dataset) -> Loader:
    """Batches of the training split, augmented."""
    split = data.splits["train"]
    augmenter = Augmenter(
        config.data.augment,
        n_samples=len(split),
        shape=data.shape,
        seed=config.seed,
        padding=config.data.crop_padding,
        cutout_size=config.data.cutout_size,
        crop_scale=config.data.crop_scale,
    )
    if isinstance(split.x, StreamedImages):
        return StreamLoader(
            split, batch_size=config.batch_size, seed=config.seed, augmenter=augmenter, prefetch=config.data.prefetch
        )
    return EpochLoader(split, batch_size=config.batch_size, seed=config.seed, augmenter=augmenter)


def build_optimizer(config: RunConfig, model: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of the trainable parameters; on CUDA an update is one launch for many of them."""
    options = config.optimizer
    parameters = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.SGD(
        parameters,
        lr=options.lr,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
        nesterov=options.nesterov,
        fused=True if parameters and all(p.is_cuda and p.is_floating_point() for p in parameters) else None,
    )
