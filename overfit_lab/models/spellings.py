"""Common spellings of state dicts: dicts around them, prefixes, constants beside the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from overfit_lab.errors import WeightsError

PLAIN_WRAPPERS = (
    *("state_dict", "model_state_dict", "model", "net", "network", "weights", "state", "net_state_dict", "model_state"),
    *("best_state_dict", "best_model_state_dict", "best_model", "params", "module"),
)
AVERAGED_WRAPPERS = ("ema", "model_ema", "ema_state_dict", "state_dict_ema", "ema_model", "ema_model_state_dict")
WRAPPERS = PLAIN_WRAPPERS + AVERAGED_WRAPPERS
"""Keys under which a state dict lies, in the order in which they are looked for: averaged weights last."""

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")
PAIRS = (("mean", "std"), ("mu", "sigma"), ("new_mean", "new_std"))
NORMALIZERS = ("normalize", "normalizer", "normalization", "normalise", "normaliser", "norm_layer", "0")
"""Names of a layer that normalises images; ``0`` in a Sequential, where the network is ``1``."""
AROUND = {prefix.removesuffix(".") for prefix in PREFIXES} | {"attacker"}


def unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    """The state dict within a file's content.

    Raises:
        WeightsError: there is none.
    """
    state = _find_state(content, len(WRAPPERS))
    if state is None:
        raise WeightsError(f"{path}: holds no state dict (names to tensors)")
    return state


def _find_state(content: Any, depth: int) -> dict[str, Tensor] | None:
    if not isinstance(content, Mapping) or depth == 0:
        return None
    for key in WRAPPERS:
        inner = _find_state(content.get(key), depth - 1)
        if inner is not None:
            return inner
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    return tensors or None


def strip_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict without wrappers' prefixes that every name has."""
    state = dict(state)
    changed = True
    while changed:
        changed = False
        for prefix in PREFIXES:
            if state and all(name.startswith(prefix) for name in state):
                state = {name.removeprefix(prefix): value for name, value in state.items()}
                changed = True
    return state


@dataclass(frozen=True)
class Reading:
    """One way to read a state dict.

    Args:
        state: the network's own names.
        constants: mean and standard deviation that lay beside them; None where there were none.
        subtree: the prefix under which the network lies, beside others.
    """

    state: dict[str, Tensor]
    constants: tuple[Tensor, Tensor] | None = None
    subtree: str = ""


def readings(state: Mapping[str, Tensor]) -> Iterator[Reading]:
    """The ways to read a state dict, the plainest first: as it is; without constants; the part under one prefix.

    Raises:
        WeightsError: several constants of normalisation that differ.
    """
    yield Reading(dict(state))
    network, constants = split_constants(state)
    if constants is not None:
        yield Reading(network, constants)
    for prefix in PREFIXES:
        below = {name.removeprefix(prefix): tensor for name, tensor in network.items() if name.startswith(prefix)}
        if 0 < len(below) < len(network):
            yield Reading(strip_prefixes(below), constants, prefix)


def split_constants(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor] | None]:
    """The network's tensors, and the constants of normalisation beside them, if any.

    Raises:
        WeightsError: several that differ.
    """
    rest = dict(state)
    constants_at: dict[str, tuple[Tensor, Tensor]] = {}
    for name in state:
        path, _, last = name.rpartition(".")
        for first, second in PAIRS:
            partner = f"{path}.{second}" if path else second
            if last == first and partner in state and _is_around(path) and _are_constants(state[name], state[partner]):
                constants_at[path] = (rest.pop(name).flatten().float(), rest.pop(partner).flatten().float())
    if not constants_at:
        return rest, None
    (owner, constants), *others = constants_at.items()
    for other, values in others:
        if not all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(constants, values, strict=True)):
            raise WeightsError(
                f"the weights normalise images in two ways, at {owner!r} and at {other!r}; save the network alone and "
                "name the constants by model.normalize"
            )
    rest = strip_prefixes(rest)
    if owner.rpartition(".")[2] == "0" and all(name.startswith("1.") for name in rest):
        rest = strip_prefixes({name.removeprefix("1."): tensor for name, tensor in rest.items()})
    return rest, constants


def _is_around(path: str) -> bool:
    """Whether a module of that path wraps the network rather than belongs to it."""
    if not path:
        return True
    *above, last = path.split(".")
    return AROUND.issuperset(above) and (last in NORMALIZERS or last in AROUND)


def _are_constants(mean: Tensor, std: Tensor) -> bool:
    return mean.is_floating_point() and mean.shape == std.shape and 1 <= mean.numel() <= 4 and bool((std > 0).all())
