"""Weights files. They are data: no file is ever allowed to run anything while it is read."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from overfit_lab.errors import WeightsError

TORCH_SUFFIXES = (".pt", ".pth", ".ckpt", ".th", ".tar")
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "weights")
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "backbone.")
OWN_PREFIX = "model/"
"""How parameters are named in checkpoints of a run."""


def load_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file by parameter name, on the CPU.

    Takes .safetensors, and .pt, .pth, .ckpt, .th and .tar as torch writes them, if they hold tensors and plain
    containers only. A state dict may lie under ``state_dict``, ``model`` and the like; wrappers' prefixes such as
    ``module.`` are taken off where every name has them.

    Raises:
        WeightsError: absent, of another kind, damaged, or it would have to run code to be read.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    if path.suffix == ".safetensors":
        content: Any = _load_safetensors(path)
    elif path.suffix in TORCH_SUFFIXES:
        content = _load_torch(path)
    else:
        raise WeightsError(f"{path}: expected a file ending in .safetensors, {', '.join(TORCH_SUFFIXES)}")
    return strip_prefixes(unwrap(content, path))


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: damaged, or not a safetensors file ({error})") from error
    own = {name.removeprefix(OWN_PREFIX): t for name, t in tensors.items() if name.startswith(OWN_PREFIX)}
    return own or tensors


def _load_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path}: refused, it holds objects other than tensors and plain containers, which could run code on "
            "loading; save its state_dict alone"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise WeightsError(f"{path}: damaged, or not a weights file ({first})") from error


def unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    """The state dict inside whatever a file holds.

    Raises:
        WeightsError: there is none.
    """
    for _ in range(len(WRAPPERS)):
        if not isinstance(content, Mapping):
            break
        tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            if tensors:
                return tensors
            break
        content = inner
    raise WeightsError(f"{path}: holds no state dict (names to tensors)")


def strip_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict without wrappers' prefixes that every name has."""
    changed = True
    while changed:
        changed = False
        for prefix in PREFIXES:
            if state and all(name.startswith(prefix) for name in state):
                state = {name.removeprefix(prefix): value for name, value in state.items()}
                changed = True
    return state


def load_into(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put a state dict into a model; nothing is changed where it does not fit.

    Raises:
        WeightsError: names or shapes differ; the message lists the first missing, unexpected and mis-shaped ones.
    """
    own = model.state_dict()
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in own]
    shaped = [name for name in own if name in state and own[name].shape != state[name].shape]
    problems = [
        f"{what} {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
        for what, names in (("missing", missing), ("unexpected", unexpected))
        if names
    ]
    if shaped:
        first = shaped[0]
        more = f" and {len(shaped) - 1} more" if len(shaped) > 1 else ""
        problems.append(f"shape of {first} {tuple(state[first].shape)}, expected {tuple(own[first].shape)}{more}")
    if problems:
        raise WeightsError(f"the weights do not fit the model: {'; '.join(problems)}")
    with torch.no_grad():
        for name, tensor in own.items():
            if name in state:
                tensor.copy_(state[name])
