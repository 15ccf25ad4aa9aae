"""Attacks of an evaluation: label, stages and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from overfit_lab.config import Options, Pixels, RunConfig, format_pixels
from overfit_lab.config.catalog import ATTACKS
from overfit_lab.config.options import accepted
from overfit_lab.errors import ConfigError
from overfit_lab.files.escape import for_file
from overfit_lab.methods.attacks.base import Attack, refuse_few_classes
from overfit_lab.methods.attacks.losses import LOSSES, LabelLoss
from overfit_lab.methods.attacks.transfer import Transfer
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.seeds import derive_seed

TRANSFER = "transfer"
STEPS = 20
USUAL = {"linf": "8/255", "l2": "128/255"}


class AttackOptions(Options):
    """Strength of an evaluation's attack. Null values are taken from the run."""

    n_steps: Annotated[int, Field(ge=1)] | None = None
    n_restarts: int = Field(1, ge=1)
    step_size: Annotated[Pixels, Field(gt=0)] | None = None
    loss: Literal["ce", "margin", "dlr"] = "ce"
    eps: Annotated[Pixels, Field(ge=0)] | None = None
    norm: Literal["linf", "l2"] | None = None
    n_iter: int = Field(100, ge=1, description="steps of APGD and FAB for each start and target class")
    n_queries: int = Field(5000, ge=1, description="forward passes of Square")


@dataclass(frozen=True)
class Stage:
    """One attack of several, with the loss of some labels; each sees the samples that the earlier ones left right."""

    name: str
    attack: Attack
    loss: Callable[[Tensor], LabelLoss]

    @property
    def n_calls(self) -> int:
        """Approximate number of model calls for a batch; 1 if the attack does not state it."""
        return int(getattr(self.attack, "n_calls", 1))


@dataclass(frozen=True)
class Attacker:
    """An attack as an evaluation runs it; its label in records is ``pgd-20``, ``pgd-50x5-margin`` or the like."""

    Options: ClassVar[type[AttackOptions]] = AttackOptions
    label: str
    stages: tuple[Stage, ...]
    settings: dict[str, Any]


@dataclass(frozen=True)
class Source:
    """Another model to craft adversarial images on, by its name in records; ``about`` goes into the outcome."""

    name: str
    model: nn.Module
    about: Mapping[str, Any] = field(default_factory=dict)


def make_attacker(
    name: str,
    config: RunConfig,
    options: AttackOptions | None = None,
    source: Source | None = None,
    n_classes: int | None = None,
) -> Attacker:
    """An attack by name: one of the registry, or ``transfer`` for PGD on another model, the source.

    The attacked run's ``config`` gives threat model, steps and seed where the options do not. Where ``n_classes`` is
    given, an attack or a loss that needs more is refused here, else when it is run.

    Raises:
        ConfigError: unknown, a noise, options that the attack has no use for, ``transfer`` without a source, a norm
            without a radius of its own, or too few classes.
    """
    options = options if options is not None else AttackOptions()
    if options.eps is None and options.norm not in (None, config.attack.norm):
        raise ConfigError(
            f"norm = {options.norm}: the run's eps = {format_pixels(config.attack.eps)} is a radius in "
            f"{config.attack.norm}; give eps too, such as {USUAL[options.norm]}"
        )
    threat = ThreatModel(options.norm or config.attack.norm, config.attack.eps if options.eps is None else options.eps)
    if name == TRANSFER and source is None:
        raise ConfigError("attack 'transfer' needs a source: a run folder, RUN@CHECKPOINT or a weights file")
    factory = ATTACKS["pgd" if name == TRANSFER else name]
    if not getattr(factory, "adversarial", True):
        raise ConfigError(f"attack {name!r} is a noise; expected an attack such as pgd, square or autoattack")
    if n_classes is not None:
        refuse_few_classes(f"attack {name!r}", factory, n_classes)
        refuse_few_classes(f"loss {options.loss!r}", LOSSES[options.loss], n_classes)
    settings = _settings(config, options, threat)
    ensemble = hasattr(factory, "stages")
    if ensemble and options.n_restarts > 1:
        raise ConfigError(f"n_restarts = {options.n_restarts}: {name} is an ensemble of its own; it is run once")
    labelled = not getattr(factory, "trains", True)
    if labelled and options.loss != "ce":
        raise ConfigError(f"loss = {options.loss}: {name} has losses of its own; a loss goes with pgd and transfer")
    stages = []
    for i in range(options.n_restarts):
        seed = config.seed if i == 0 else derive_seed(config.seed, "restart", i)
        made = factory(threat, **accepted(factory, {**settings, "seed": seed % 2**31}))
        for part in getattr(made, "stages", (made,)):
            title = getattr(part, "name", name) if ensemble else f"restart {i}" if options.n_restarts > 1 else name
            attack = Transfer(source.model, part) if source is not None and name == TRANSFER else part
            stages.append(Stage(title, attack, LOSSES[options.loss]))
    label = _label(name, config, options, settings, labelled, source)
    stated = {"attack": name, "norm": threat.norm, "eps": threat.eps, **_stated(options, settings, labelled)}
    if source is not None and name == TRANSFER:
        stated |= {"source": source.name, **({"source_about": dict(source.about)} if source.about else {})}
    return Attacker(label, tuple(stages), stated)


def _settings(config: RunConfig, options: AttackOptions, threat: ThreatModel) -> dict[str, Any]:
    """Keyword arguments for an attack's constructor, which takes those that it knows."""
    evaluation = config.evaluation
    step_size = options.step_size if options.step_size is not None else evaluation.step_size or config.attack.step_size
    if options.step_size is None and config.attack.eps > 0:
        step_size *= threat.eps / config.attack.eps
    return {
        "step_size": step_size,
        "n_steps": options.n_steps if options.n_steps is not None else evaluation.n_steps or STEPS,
        "n_restarts": 1,
        "random_start": config.attack.random_start,
        "n_iter": options.n_iter,
        "n_queries": options.n_queries,
    }


def _stated(options: AttackOptions, settings: dict[str, Any], labelled: bool) -> dict[str, Any]:
    if labelled:
        return {"n_restarts": options.n_restarts, **{key: settings[key] for key in ("n_iter", "n_queries")}}
    keys = ("n_steps", "step_size", "random_start")
    return {"n_restarts": options.n_restarts, "loss": options.loss, **{key: settings[key] for key in keys}}


def _label(
    name: str,
    config: RunConfig,
    options: AttackOptions,
    settings: dict[str, Any],
    labelled: bool,
    source: Source | None,
) -> str:
    """The attack's name in records. Every unusual setting is in it, so that two attacks never share a name."""
    parts = [for_file(name)]
    if name == TRANSFER and source is not None:
        parts += [for_file(source.name)]
    if not labelled:
        parts[-1] += f"-{settings['n_steps']}"
    if options.n_restarts > 1:
        parts[-1] += f"x{options.n_restarts}"
    if not labelled and options.loss != "ce":
        parts.append(options.loss)
    usual = AttackOptions()
    if labelled and options.n_iter != usual.n_iter:
        parts.append(f"iter{options.n_iter}")
    if labelled and options.n_queries != usual.n_queries:
        parts.append(f"queries{options.n_queries}")
    if options.norm is not None and options.norm != config.attack.norm:
        parts.append(options.norm)
    if options.eps is not None and options.eps != config.attack.eps:
        parts.append(f"eps{_pixels(options.eps)}")
    if not labelled and options.step_size is not None:
        parts.append(f"step{_pixels(options.step_size)}")
    return "-".join(parts)


def _pixels(value: float) -> str:
    return str(format_pixels(value)).replace("/", "of")


def single(attack: Attack, loss: str = "ce", name: str = "attack") -> Attacker:
    """An attacker of one stage, for use from Python."""
    return Attacker(for_file(name), (Stage(name, attack, LOSSES[loss]),), {"attack": name})
