"""From a configuration to a network with freshly drawn weights."""

from __future__ import annotations

import inspect

import torch
from torch import Tensor, nn

from overfit_lab.catalog import MODELS
from overfit_lab.config import Part
from overfit_lab.errors import ConfigError
from overfit_lab.isolation import isolated
from overfit_lab.seeds import derive_seed, private_streams
from overfit_lab.types import Dataset, to_float

MODEL_CONTEXT = frozenset({"n_classes", "shape", "mean", "std"})
"""What a factory is told of the data, where it takes parameters of these names."""


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
