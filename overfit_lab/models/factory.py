"""From a configuration to a network with freshly drawn weights."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from overfit_lab.config import Part
from overfit_lab.config.catalog import MODELS
from overfit_lab.errors import ConfigError, OverfitLabError
from overfit_lab.models.constants import choose_constants
from overfit_lab.models.isolation import isolated
from overfit_lab.models.normalize import Normalize, find_normalize, put_in_front
from overfit_lab.models.spec import ModelSpec
from overfit_lab.seeds import derive_seed, private_streams
from overfit_lab.types import Dataset, to_float

MODEL_CONTEXT = frozenset({"argument", "spec", "n_classes", "shape", "mean", "std"})
"""What a factory is told of the data, where it takes parameters of these names (``spec``: all of it in one
:class:`~overfit_lab.models.spec.ModelSpec`), and what followed its name's colon."""

EVERY_MODEL = ("penultimate", "normalize")
"""Options that go with every model and that no factory sees."""


def find_model(name: str) -> tuple[Any, str]:
    """The factory of a model's name, and what follows the colon.

    ``torchvision:NAME`` and ``timm:NAME`` name a library and a model of it; any other name with a colon is
    ``package.module:function``.

    Raises:
        ConfigError: no such model, or a name after a colon for a model that takes none.
    """
    prefix, colon, argument = name.partition(":")
    if not colon or prefix not in MODELS:
        return MODELS[name], ""
    factory = MODELS[prefix]
    if "argument" not in inspect.signature(factory).parameters:
        raise ConfigError(f"model.name = {name!r}: {prefix} takes nothing after a colon")
    return factory, argument


def build_model(part: Part, data: Dataset, device: torch.device, *, seed: int) -> nn.Module:
    """The model of a configuration with freshly drawn weights, a function of the seed.

    Raises:
        ConfigError: the factory gives no module, or the module does not map an image to K logits.
    """
    factory, argument = find_model(part.name)
    options = {key: value for key, value in part.options.items() if key not in EVERY_MODEL}
    normalize = part.options.get("normalize")
    mean, std = choose_constants(normalize, data.mean, data.std)
    spec = ModelSpec(data.n_classes, data.shape, mean, std)
    context = {"argument": argument, "spec": spec, **vars(spec)}
    accepted = _accepted(factory, context)
    try:
        with private_streams(derive_seed(seed, "model")):
            model = factory(**accepted, **options)
    except OverfitLabError:
        raise
    except (AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:  # what wrong options lead to
        raise ConfigError(
            f"model.name = {part.name!r}: cannot be made with these options ({_first_line(error)})"
        ) from error
    if not isinstance(model, nn.Module):
        raise ConfigError(f"model.name = {part.name!r}: gives {type(model).__name__}, expected a torch.nn.Module")
    if "spec" not in accepted and not {"mean", "std"} <= set(accepted):
        identity = (0.0,) * len(mean), (1.0,) * len(std)
        put_in_front(model, Normalize(*((mean, std) if normalize else identity)))
    layer = find_normalize(model)
    if layer is not None:
        layer.chosen = normalize is not None
    model = model.to(device)
    check_logits(model, data, part.name)
    return model


def _first_line(error: Exception) -> str:
    """A foreign error's first line, or its kind: an assertion may say nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _accepted(factory: Any, context: Mapping[str, Any]) -> dict[str, Any]:
    """What of the context the factory takes. One of arbitrary keywords gets all that is said of the data."""
    parameters = inspect.signature(factory).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return {key: value for key, value in context.items() if key not in ("argument", "spec") or key in parameters}
    return {name: context[name] for name in parameters if name in context}


def check_logits(model: nn.Module, data: Dataset, name: str) -> None:
    """Pass two images through the model and look at the shape of what comes out.

    Raises:
        ConfigError: the model fails on this data's images, or gives anything but (2, K) logits.
    """
    images = to_float(data.splits["train"].x[:2])
    try:
        with isolated(model), torch.no_grad():
            logits = model(images)
    except (OverfitLabError, MemoryError):
        raise
    except Exception as error:
        first = _first_line(error)
        shape = "x".join(str(size) for size in data.shape)
        raise ConfigError(f"model {name!r} fails on images of {shape} ({data.name}): {first}") from error
    expected = (len(images), data.n_classes)
    if not isinstance(logits, Tensor) or tuple(logits.shape) != expected:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ConfigError(f"model {name!r}: expected logits of shape {expected} for {data.name}, got {got}")
