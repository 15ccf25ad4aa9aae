"""Networks of other libraries by name: ``torchvision:NAME`` and ``timm:NAME``, always with freshly drawn weights."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from overfit_lab.errors import ConfigError
from overfit_lab.models.normalize import Normalize, put_in_front

WITHOUT_AUXILIARY = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}
"""Networks that give several logits in training unless their auxiliary heads are switched off."""
HOW_TO_GET_TIMM = "pip install 'overfit-lab[timm]'"


def torchvision_model(
    argument: str,
    n_classes: int,
    *,
    shape: tuple[int, int, int] = (3, 224, 224),
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    image_size: int | None = None,
    **keywords: Any,
) -> nn.Module:
    """torchvision:NAME, a classifier of torchvision.models; ``image_size`` for those that take it (transformers).

    Other options go to torchvision's own function as they are.
    """
    from torchvision import models

    known = models.list_models(module=models)
    _check_name("torchvision", argument, known)
    options: dict[str, Any] = {} if image_size is None else {"image_size": image_size}
    options |= {**WITHOUT_AUXILIARY.get(argument, {}), **keywords}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: nn.Module = models.get_model(argument, weights=None, num_classes=n_classes, **options)
    return _prepare(model, n_classes, mean, std)


def timm_model(
    argument: str,
    n_classes: int,
    *,
    shape: tuple[int, int, int] = (3, 224, 224),
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    image_size: int | None = None,
    **keywords: Any,
) -> nn.Module:
    """timm:NAME, a network of timm (extra ``timm``); ``image_size`` for those that take it (transformers).

    Other options, such as ``patch_size``, go to timm's own function as they are.
    """
    timm = import_installed("timm", HOW_TO_GET_TIMM)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _check_name("timm", argument, timm.list_models())
        options: dict[str, Any] = {} if image_size is None else {"img_size": image_size}
        options |= keywords
        model: nn.Module = timm.create_model(
            argument, pretrained=False, num_classes=n_classes, in_chans=shape[0], **options
        )
    return _prepare(model, n_classes, mean, std)


def import_installed(name: str, how_to_get: str) -> ModuleType:
    """Import an installed library, and never a file of that name in the current folder, which may be anyone's.

    Raises:
        ConfigError: it is not installed; the line says how to get it.
    """
    spec = importlib.util.find_spec(name)
    origin = Path(spec.origin).resolve() if spec is not None and spec.origin else None
    current = Path.cwd().resolve()
    if origin is None or current in (origin.parent, origin.parent.parent):
        raise ConfigError(f"{name} is not installed; {how_to_get}")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"{name} cannot be imported ({error}); {how_to_get}") from error


def _check_name(library: str, name: str, known: Sequence[str]) -> None:
    """Refuse names that the library does not list, such as paths or addresses to fetch from."""
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"expected {library}:NAME, such as {library}:resnet18"
    raise ConfigError(f"model.name = '{library}:{name}': no such model of {library}; {hint}")


def _prepare(model: nn.Module, n_classes: int, mean: Sequence[float], std: Sequence[float]) -> nn.Module:
    """The normalisation in front, and the last linear layer to the logits declared as ``penultimate``."""
    heads = [n for n, m in model.named_modules() if isinstance(m, nn.Linear) and m.out_features == n_classes]
    if heads:
        model.penultimate = heads[-1]  # type: ignore[assignment]
    return put_in_front(model, Normalize(mean, std))


REGISTER = {"timm": timm_model, "torchvision": torchvision_model}
