"""A configuration with every option checked and every default filled in, or one line that says what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from overfit_lab.config import EvaluationConfig, Part, RunConfig, resolve_moment
from overfit_lab.config.catalog import ATTACKS, DATASETS, LABELS, MODELS, OBJECTIVES, PROBES, REGULARIZERS, SCHEDULES
from overfit_lab.config.options import dump_options, parse_options
from overfit_lab.errors import ConfigError
from overfit_lab.methods.attacks.base import refuse_few_classes
from overfit_lab.methods.combination import Choice, Combination
from overfit_lab.models.constants import check_normalize
from overfit_lab.models.factory import EVERY_MODEL, MODEL_CONTEXT, find_model
from overfit_lab.training.parts import make_probes
from overfit_lab.types import Dataset


def complete(config: RunConfig) -> RunConfig:
    """The configuration of a new run, with every component's options checked and its defaults filled in.

    Raises:
        ConfigError: see :func:`combine` and :func:`check_moments`; or another loop's run, of which not all is known.
    """
    check_trainable(config)
    run = combine(config)
    check_moments(run)
    return run.config


def check_trainable(config: RunConfig) -> None:
    """Refuse the configuration of another loop's run: what it does not say would be defaults that nobody chose.

    Raises:
        ConfigError: it is one.
    """
    if config.is_monitored:
        unknown = [key for key in ("data", "model", "objective", "labels", "optimizer") if not config.knows(key)]
        raise ConfigError(
            f"{config.name}: another loop trained this run, and its {', '.join(unknown)} are not known; "
            "begin with a recipe, see `overfit-lab list recipes`"
        )


def check_moments(run: Combination) -> None:
    """Refuse what would begin when the run is over, and a rise that the run does not see the end of.

    Raises:
        ConfigError: such a moment, with its key.
    """
    n = run.config.epochs
    parts = {"labels": run.choices["labels"], **{f"regularizers.{name}": choice for name, choice in run.added.items()}}
    for key, choice in parts.items():
        start = getattr(choice.options, "start_epoch", None)
        if start is not None and resolve_moment(start, n) >= n:
            raise ConfigError(
                f"{key}.start_epoch = {start}: the run ends after {n} epochs, so {choice.name} would never act; give "
                f"an epoch below {n} or a share such as 50%"
            )
    rises = {"optimizer.warmup": run.config.optimizer.warmup}
    rises["labels.ramp_end"] = getattr(run.choices["labels"].options, "ramp_end", 0)
    for key, end in rises.items():
        if resolve_moment(end, n) > n:
            raise ConfigError(
                f"{key} = {end}: the run ends after {n} epochs, before the rise does; give {n} or fewer, or a share"
            )
    schedules = {"schedule": run.schedule, "attack.eps_schedule": run.choices["eps_schedule"].make(n)}
    for key, schedule in schedules.items():
        if reason := schedule.refusal():
            raise ConfigError(f"{key}.{reason}")


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


def check_classes(config: EvaluationConfig, data: Dataset) -> None:
    """Refuse, before anything is trained, an evaluation whose attack needs more classes than there are."""
    if config.n_steps > 0:
        refuse_few_classes(f"evaluation.attack {config.attack!r}", ATTACKS[config.attack], data.n_classes, data.name)


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
    for_factory = {key: value for key, value in options.items() if key not in EVERY_MODEL}
    factory, _ = find_model(part.name)
    completed = parse_options(factory, for_factory, prefix="model", context=MODEL_CONTEXT)
    return Part(name=MODELS.canonical(part.name), **dump_options(completed), **every)
