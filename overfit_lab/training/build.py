"""From a configuration to the objects of a run: the only wiring of data, model, attack, labels and objective."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from overfit_lab.config import AttackConfig, EvaluationConfig, Part, ProbesConfig, RunConfig, parse_size
from overfit_lab.config.catalog import ATTACKS, DATASETS, LABELS, MODELS, OBJECTIVES, PROBES, REGULARIZERS, SCHEDULES
from overfit_lab.config.options import accepted, dump_options, parse_options
from overfit_lab.data.augment import Augmenter
from overfit_lab.data.dataset import load_dataset
from overfit_lab.data.loader import EpochLoader, Loader
from overfit_lab.data.stream_loader import StreamLoader
from overfit_lab.data.streamed import StreamedImages
from overfit_lab.errors import ConfigError
from overfit_lab.methods.attacks.base import Attack
from overfit_lab.methods.attacks.pgd import PGD
from overfit_lab.methods.combination import Choice, Combination
from overfit_lab.methods.labels.base import LabelContext
from overfit_lab.methods.regularizers.average import batch_norms
from overfit_lab.methods.regularizers.base import Regularizer, RegularizerContext
from overfit_lab.methods.teachers import Teachers
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.models.compute.compiled import compile_attack, compile_model
from overfit_lab.models.compute.work import forward_flops, training_flops
from overfit_lab.models.constants import check_normalize
from overfit_lab.models.factory import EVERY_MODEL, MODEL_CONTEXT, build_model, find_model
from overfit_lab.probes.base import Probe
from overfit_lab.probes.priors.store import PriorStore
from overfit_lab.processes.world import ALONE, World
from overfit_lab.training.apart import train_apart
from overfit_lab.training.session import Session
from overfit_lab.types import Clock, Dataset, to_float

logger = logging.getLogger(__name__)
WORTH_COMPILING = 1e14
"""Floating-point operations of a run from which on compiling its attack pays on a CPU: about a quarter of an hour."""


def complete(config: RunConfig) -> RunConfig:
    """The configuration with every component's options checked and its defaults filled in.

    Raises:
        ConfigError: see :func:`combine`.
    """
    return combine(config).config


def combine(config: RunConfig) -> Combination:
    """The components of a configuration with their options, and the complete configuration.

    Raises:
        ConfigError: an unknown component or option, a value out of bounds, or components that make no sense together;
            one line.
    """
    model = _complete_model(config.model)
    choices = {
        "objective": Choice.of(config.objective, OBJECTIVES, "objective"),
        "labels": Choice.of(config.labels, LABELS, "labels"),
        "schedule": Choice.of(config.schedule, SCHEDULES, "schedule"),
        "eps_schedule": Choice.of(config.attack.eps_schedule, SCHEDULES, "attack.eps_schedule"),
    }
    added = [Choice.of(part, REGULARIZERS, f"regularizers.{part.name}") for part in config.regularizers]
    config = config.model_copy(update={"model": model, **_canonical_names(config)})
    make_probes(config.probes)
    _check_twice([choice.name for choice in added])
    run = Combination(
        config=_with_parts(config, choices, added),
        attack=ATTACKS[config.attack.name],
        choices=choices,
        added={choice.name: choice for choice in added},
        schedule=choices["schedule"].make(config.epochs),
    )
    added = [replace(choice, options=choice.cls.settle(choice.options, run)) for choice in added]
    run = replace(run, config=_with_parts(config, choices, added), added={choice.name: choice for choice in added})
    _check_attacks(run)
    run.check()
    return run


def _with_parts(config: RunConfig, choices: Mapping[str, Choice], added: Sequence[Choice]) -> RunConfig:
    """The configuration with every option of its components in it."""
    parts: dict[str, Any] = {key: choices[key].part for key in ("objective", "labels", "schedule")}
    parts["regularizers"] = tuple(choice.part for choice in added)
    parts["attack"] = config.attack.model_copy(update={"eps_schedule": choices["eps_schedule"].part})
    return config.model_copy(update=parts)


def _canonical_names(config: RunConfig) -> dict[str, Any]:
    """The groups of keys that name components by a mere text, with each name as it is registered."""
    evaluation, probes = config.evaluation, config.probes
    corruption = evaluation.corruption
    named = {
        "attack": ATTACKS.canonical(evaluation.attack),
        "corruption": None if corruption is None else ATTACKS.canonical(corruption),
    }
    metrics = {
        "metrics": tuple(PROBES.canonical(name) for name in probes.metrics),
        "options": {PROBES.canonical(name): options for name, options in probes.options.items()},
    }
    return {
        "attack": config.attack.model_copy(update={"name": ATTACKS.canonical(config.attack.name)}),
        "data": config.data.model_copy(update={"name": DATASETS.canonical(config.data.name)}),
        "evaluation": evaluation.model_copy(update=named),
        "probes": probes.model_copy(update=metrics),
    }


def _check_twice(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"regularizers: {name!r} is listed {names.count(name)} times; expected each at most once")


def _check_attacks(run: Combination) -> None:
    """Refuse a noise where accuracy under attack is measured, and an attack where a noise is wanted."""
    config = run.config.evaluation
    if not getattr(run.attack, "trains", True):
        raise ConfigError(
            f"attack.name = {run.config.attack.name!r}: aims at wrong answers and cannot ascend a training loss; "
            "train with pgd, and name this one as evaluation.attack"
        )
    if not getattr(ATTACKS[config.attack], "adversarial", True):
        raise ConfigError(f"evaluation.attack = {config.attack!r} is a noise; name it as evaluation.corruption")
    if config.corruption is not None and getattr(ATTACKS[config.corruption], "adversarial", True):
        raise ConfigError(f"evaluation.corruption = {config.corruption!r} is an attack; expected a noise")


def _check_classes(config: EvaluationConfig, data: Dataset) -> None:
    """Refuse, before anything is trained, an evaluation whose attack needs more classes than there are."""
    least = getattr(ATTACKS[config.attack], "least_classes", 0)
    if config.n_steps > 0 and data.n_classes < least:
        raise ConfigError(
            f"evaluation.attack = {config.attack!r} needs {least} classes or more; {data.name} has {data.n_classes}"
        )


def check_shares(config: RunConfig, n_processes: int) -> None:
    """Refuse batches that cannot be dealt out among processes.

    Raises:
        ConfigError: too small a batch, or one whose pairs do not come out even.
    """
    least = 2 * n_processes
    if n_processes > 1 and config.batch_size < least:
        raise ConfigError(f"batch_size = {config.batch_size}: {n_processes} processes need {least} or more")
    if OBJECTIVES[config.objective.name].pairs_samples and config.batch_size % least and n_processes > 1:
        raise ConfigError(
            f"batch_size = {config.batch_size}: objective {config.objective.name!r} pairs the two halves of a batch; "
            f"{n_processes} processes need a multiple of {least}"
        )


def _complete_model(part: Part) -> Part:
    """A model's options come from its factory's signature; ``penultimate`` and ``normalize`` go with every model."""
    options = part.options
    every = {}
    if options.get("penultimate") is not None:
        every["penultimate"] = str(options["penultimate"])
    if "normalize" in options:
        every["normalize"] = check_normalize(options["normalize"])
    own = {key: value for key, value in options.items() if key not in EVERY_MODEL}
    factory, _ = find_model(part.name)
    completed = parse_options(factory, own, prefix="model", context=MODEL_CONTEXT)
    return Part(name=MODELS.canonical(part.name), **dump_options(completed), **every)


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


def make_probe(name: str, config: ProbesConfig, key: str = "probes.options") -> Probe:
    """One probe with the options that the configuration gives it.

    Raises:
        ConfigError: unknown metric, or an option that it does not take.
    """
    cls = PROBES[name]
    given: dict[str, Any] = {"splits": config.splits, "inputs": config.inputs}
    if config.n is not None:
        given["n"] = config.n
    own = {PROBES.canonical(other): values for other, values in config.options.items()}.get(PROBES.canonical(name), {})
    options = parse_options(cls, {**given, **own}, prefix=f"{key}.{name}")
    probe: Probe = cls(options)
    return probe


def make_probes(config: ProbesConfig) -> list[Probe]:
    """Every probe of a configuration, in its order."""
    for name in config.options:
        PROBES[name]
    return [make_probe(name, config) for name in config.metrics]


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


def has_convolutions(model: nn.Module) -> bool:
    """Whether the model convolves images."""
    return any(isinstance(module, nn.Conv2d) for module in model.modules())


def resolve_compute(config: RunConfig, model: nn.Module, data: Dataset, device: torch.device) -> dict[str, Any]:
    """What ``auto`` stands for in a run.

    Mixed precision on CUDA alone. Compilation on CUDA for models that convolve, on the CPU for those whose training is
    so long that the seconds of compiling are made up for.
    """
    asked = config.compute
    convolves = has_convolutions(model)
    precision = asked.precision
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    compiled = asked.compile
    if compiled == "auto":
        compiled = convolves and (device.type == "cuda" or run_flops(config, model, data) > WORTH_COMPILING)
    channels_last = convolves if asked.channels_last == "auto" else asked.channels_last
    return {
        "precision": precision,
        "compile": bool(compiled),
        "channels_last": bool(channels_last),
        "fold": asked.fold,
    }


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
    if (
        session.objective.needs_attack
        and isinstance(attack, PGD)
        and attack.ascended(session.model, x) is not session.model
    ):
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


def build(
    config: RunConfig,
    device: torch.device,
    *,
    trust: bool = False,
    data: Dataset | None = None,
    world: World = ALONE,
) -> Session:
    """Everything that a run needs, at its beginning.

    Args:
        config: the configuration.
        device: where the run is.
        trust: import the code that the configuration of a teacher's run names.
        data: in the place of the data that the configuration names.
        world: the processes that share the run.

    Raises:
        ConfigError: the configuration asks for what does not exist or does not fit together.
        DataUnavailableError: the data set is not on this machine.
    """
    run = combine(config)
    config = run.config
    data = load_dataset(config.data, config.seed, device) if data is None else data
    _check_classes(config.evaluation, data)
    check_shares(config, world.size)
    model = build_model(config.model, data, device, seed=config.seed)
    compute = resolve_compute(config, model, data, device)
    if compute["channels_last"]:
        model = model.to(memory_format=torch.channels_last)
    reference = {name: p.detach().clone() for name, p in model.named_parameters()}
    teachers = Teachers(config, data, device, trust=trust)
    labels = run.choices["labels"].make(_label_context(config, data, teachers))
    eps_schedule = run.choices["eps_schedule"]
    return Session(
        config=config,
        device=device,
        data=data,
        model=model,
        reference=reference,
        penultimate=config.model.options.get("penultimate") or getattr(model, "penultimate", None),
        loader=_build_loader(config, data),
        attack=build_attack(config.attack, fold=compute["fold"]),
        evaluation_attack=build_attack(config.attack, config.evaluation, fold=compute["fold"]),
        objective=run.choices["objective"].make(),
        labels=labels,
        schedule=run.schedule,
        optimizer=_build_optimizer(config, model),
        clock=Clock(epoch=0, step=0, n_epochs=config.epochs),
        regularizers=_build_regularizers(run, data, model, teachers),
        eps_schedule=eps_schedule.make(config.epochs) if eps_schedule.name != "constant" else None,
        corruption=build_corruption(config.attack, config.evaluation),
        black_box=build_black_box(config.attack, config.evaluation),
        teachers=teachers,
        priors=PriorStore(config, partial(train_apart, build, device)),
        autocast_dtype=torch.bfloat16 if compute["precision"] == "bf16" else None,
        compute=compute,
        world=world,
    )


def _label_context(config: RunConfig, data: Dataset, teachers: Teachers) -> LabelContext:
    return LabelContext(
        labels=data.splits["train"].y,
        n_classes=data.n_classes,
        n_epochs=config.epochs,
        teacher=teachers,
        place=config.compute.label_memory,
        limit=parse_size(config.compute.label_memory_limit),
    )


def _build_regularizers(
    run: Combination, data: Dataset, model: nn.Module, teachers: Teachers
) -> dict[str, Regularizer]:
    config = run.config
    robust = run.objective.robust and config.evaluation.n_steps > 0
    context = RegularizerContext(
        model=model,
        train=data.splits["train"],
        n_epochs=config.epochs,
        seed=config.seed,
        robust=robust,
        teacher=teachers,
    )
    return {name: choice.make(context) for name, choice in run.added.items()}


def _build_loader(config: RunConfig, data: Dataset) -> Loader:
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
            split,
            batch_size=config.batch_size,
            seed=config.seed,
            augmenter=augmenter,
            prefetch=config.data.prefetch,
        )
    return EpochLoader(split, batch_size=config.batch_size, seed=config.seed, augmenter=augmenter)


def _build_optimizer(config: RunConfig, model: nn.Module) -> torch.optim.Optimizer:
    options = config.optimizer
    return torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad],
        lr=options.lr,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
        nesterov=options.nesterov,
    )
