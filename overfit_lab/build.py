"""From a configuration to the objects of a run: the only wiring of data, model, attack, labels and objective."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from overfit_lab.attacks.base import Attack
from overfit_lab.catalog import ATTACKS, LABELS, MODELS, OBJECTIVES, PROBES, SCHEDULES
from overfit_lab.config import AttackConfig, ComputeConfig, EvaluationConfig, Part, ProbesConfig, RunConfig
from overfit_lab.data.augment import Augmenter
from overfit_lab.data.dataset import load_dataset
from overfit_lab.data.loader import EpochLoader
from overfit_lab.errors import ConfigError
from overfit_lab.isolation import isolated
from overfit_lab.labels.base import LabelContext
from overfit_lab.options import dump_options, parse_options
from overfit_lab.probes.base import Probe
from overfit_lab.registry import Registry
from overfit_lab.seeds import derive_seed, private_streams
from overfit_lab.threat import ThreatModel
from overfit_lab.training.loop import Session
from overfit_lab.types import Clock, Dataset, to_float

MODEL_CONTEXT = frozenset({"n_classes", "shape", "mean", "std"})


def complete(config: RunConfig) -> RunConfig:
    """The configuration with every component's options checked and its defaults filled in.

    Raises:
        ConfigError: an unknown component or option, or a value out of bounds; one line.
    """
    parts = {
        "model": _complete_model(config.model),
        "objective": _complete_part(config.objective, OBJECTIVES, "objective"),
        "labels": _complete_part(config.labels, LABELS, "labels"),
        "schedule": _complete_part(config.schedule, SCHEDULES, "schedule"),
    }
    ATTACKS[config.attack.name]
    make_probes(config.probes)
    return config.model_copy(update=parts)


def _complete_part(part: Part, registry: Registry, prefix: str, context: frozenset[str] = frozenset()) -> Part:
    options = parse_options(registry[part.name], part.options, prefix=prefix, context=context)
    return Part(name=part.name, **dump_options(options))


def _complete_model(part: Part) -> Part:
    """A model's options come from its factory's signature; ``penultimate`` goes with every model."""
    options = part.options
    penultimate = options.pop("penultimate", None)
    completed = _complete_part(Part(name=part.name, **options), MODELS, "model", MODEL_CONTEXT)
    if penultimate is None:
        return completed
    return Part(name=part.name, **completed.options, penultimate=str(penultimate))


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


def build_attack(config: AttackConfig, evaluation: EvaluationConfig | None = None) -> Attack | None:
    """The training attack, or the evaluation's where its settings are given; None where it takes no steps.

    In evaluation batch norm is always in eval mode.
    """
    threat = ThreatModel(norm=config.norm, eps=config.eps)
    settings: dict[str, Any] = {
        "step_size": config.step_size,
        "n_steps": config.n_steps,
        "n_restarts": config.n_restarts,
        "random_start": config.random_start,
        "bn_mode": config.bn_mode,
    }
    if evaluation is not None:
        if evaluation.n_steps == 0:
            return None
        settings["n_steps"] = evaluation.n_steps
        settings["n_restarts"] = evaluation.n_restarts
        settings["bn_mode"] = "eval"
        if evaluation.step_size is not None:
            settings["step_size"] = evaluation.step_size
    attack: Attack = ATTACKS[config.name](threat, **settings)
    return attack


def build_model(part: Part, data: Dataset, device: torch.device, *, seed: int) -> nn.Module:
    """The model of a configuration with freshly drawn weights, a function of the seed.

    Raises:
        ConfigError: the factory gives no module, or the module does not map an image to K logits.
    """
    factory = MODELS[part.name]
    options = {key: value for key, value in part.options.items() if key != "penultimate"}
    context = {"n_classes": data.n_classes, "shape": data.shape, "mean": data.mean, "std": data.std}
    parameters = inspect.signature(factory).parameters.values()
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    accepted = context if takes_any else {p.name: context[p.name] for p in parameters if p.name in context}
    try:
        with private_streams(derive_seed(seed, "model")):
            model = factory(**accepted, **options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model.name = {part.name!r}: cannot be made with these options ({error})") from error
    if not isinstance(model, nn.Module):
        raise ConfigError(f"model.name = {part.name!r}: gives {type(model).__name__}, expected a torch.nn.Module")
    model = model.to(device)
    check_logits(model, data, part.name)
    return model


def check_logits(model: nn.Module, data: Dataset, name: str) -> None:
    """Pass two images through the model and look at the shape of what comes out.

    Raises:
        ConfigError: the model fails on this data's images, or gives anything but (2, K) logits.
    """
    images = to_float(data.splits["train"].x[:2])
    try:
        with isolated(model), torch.no_grad():
            logits = model(images)
    except (RuntimeError, ValueError, TypeError) as error:
        first = str(error).splitlines()[0]
        shape = "x".join(str(size) for size in data.shape)
        raise ConfigError(f"model {name!r} fails on images of {shape} ({data.name}): {first}") from error
    expected = (len(images), data.n_classes)
    if not isinstance(logits, Tensor) or tuple(logits.shape) != expected:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ConfigError(f"model {name!r}: expected logits of shape {expected} for {data.name}, got {got}")


def make_probe(name: str, config: ProbesConfig, key: str = "probes.options") -> Probe:
    """One probe with the options that the configuration gives it.

    Raises:
        ConfigError: unknown metric, or an option that it does not take.
    """
    cls = PROBES[name]
    given: dict[str, Any] = {"splits": config.splits, "inputs": config.inputs}
    if config.n is not None:
        given["n"] = config.n
    options = parse_options(cls, {**given, **config.options.get(name, {})}, prefix=f"{key}.{name}")
    probe: Probe = cls(options)
    return probe


def make_probes(config: ProbesConfig) -> list[Probe]:
    """Every probe of a configuration, in its order."""
    for name in config.options:
        PROBES[name]
    return [make_probe(name, config) for name in config.metrics]


def has_convolutions(model: nn.Module) -> bool:
    """Whether the model convolves images."""
    return any(isinstance(module, nn.Conv2d) for module in model.modules())


def resolve_compute(config: ComputeConfig, model: nn.Module, device: torch.device) -> dict[str, Any]:
    """What ``auto`` stands for on this device: on CUDA bf16 and compilation of convolutional models, on CPU neither."""
    on_gpu = device.type == "cuda"
    convolves = has_convolutions(model)
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if on_gpu and torch.cuda.is_bf16_supported() else "fp32"
    compiled = on_gpu and convolves if config.compile == "auto" else config.compile
    channels_last = convolves if config.channels_last == "auto" else config.channels_last
    return {"precision": precision, "compile": bool(compiled), "channels_last": bool(channels_last)}


def build(config: RunConfig, device: torch.device) -> Session:
    """Everything that a run needs, at its beginning.

    Raises:
        ConfigError: the configuration asks for what does not exist or does not fit together.
        DataUnavailableError: the data set is not on this machine.
    """
    config = complete(config)
    data = load_dataset(config.data, config.seed, device)
    model = build_model(config.model, data, device, seed=config.seed)
    compute = resolve_compute(config.compute, model, device)
    if compute["channels_last"]:
        model = model.to(memory_format=torch.channels_last)
    reference = {name: p.detach().clone() for name, p in model.named_parameters()}
    if compute["compile"]:
        model.compile()
    return Session(
        config=config,
        device=device,
        data=data,
        model=model,
        reference=reference,
        penultimate=config.model.options.get("penultimate") or getattr(model, "penultimate", None),
        loader=_build_loader(config, data),
        attack=build_attack(config.attack),
        evaluation_attack=build_attack(config.attack, config.evaluation),
        objective=_build_part(config.objective, OBJECTIVES, "objective"),
        labels=_build_part(config.labels, LABELS, "labels", _label_context(config, data)),
        schedule=_build_part(config.schedule, SCHEDULES, "schedule", config.epochs),
        optimizer=_build_optimizer(config, model),
        clock=Clock(epoch=0, step=0, n_epochs=config.epochs),
        autocast_dtype=torch.bfloat16 if compute["precision"] == "bf16" else None,
        compute=compute,
    )


def _build_part(part: Part, registry: Registry, prefix: str, *context: Any) -> Any:
    cls = registry[part.name]
    return cls(parse_options(cls, part.options, prefix=prefix), *context)


def _label_context(config: RunConfig, data: Dataset) -> LabelContext:
    return LabelContext(given=data.splits["train"].y, n_classes=data.n_classes, n_epochs=config.epochs)


def _build_loader(config: RunConfig, data: Dataset) -> EpochLoader:
    split = data.splits["train"]
    augmenter = Augmenter(
        config.data.augment,
        n_samples=len(split),
        shape=data.shape,
        seed=config.seed,
        padding=config.data.crop_padding,
        cutout_size=config.data.cutout_size,
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
