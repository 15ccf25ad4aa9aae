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
    *("best_state_dict", "best_model_state_dict", "best_model", "params", "module", "rmodel"),
)
AVERAGED_WRAPPERS = (
    *("ema", "model_ema", "ema_state_dict", "state_dict_ema", "ema_model", "ema_model_state_dict"),
    *("swa", "model_swa", "swa_state_dict", "state_dict_swa", "swa_model", "swa_model_state_dict", "averaged_model"),
)
WRAPPERS = PLAIN_WRAPPERS + AVERAGED_WRAPPERS
"""Keys under which a state dict lies, in the order in which they are looked for: averaged weights last."""

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")
PAIRS = (("mean", "std"), ("mu", "sigma"), ("new_mean", "new_std"))
NORMALIZERS = ("normalize", "normalizer", "normalization", "normalise", "normaliser", "norm_layer", "0")
"""Names of a layer that normalises images; ``0`` in a Sequential, where the network is ``1``."""
COUNTS = ("n_classes", "num_classes", "n_averaged")
"""Numbers of one element that wrappers keep beside the network: MAIR's models, torch's AveragedModel."""
SECOND = "1."
"""Prefix of the network in a Sequential behind a layer of normalisation that has no tensors in the file."""
AROUND = {prefix.removesuffix(".") for prefix in PREFIXES} | {"attacker"}


def unwrap(content: Any, path: Path, which: str | None = None) -> tuple[dict[str, Tensor], str]:
    """A state dict within a file's content.

    Args:
        which: key of the one to take; None: the first of :data:`WRAPPERS` that is there.

    Returns:
        The state dict, and a sentence on which it is if there are others beside it.

    Raises:
        WeightsError: there is none, or none under that key.
    """
    states = _states(content, len(WRAPPERS))
    if not states:
        raise WeightsError(f"{path}: holds no state dict (names to tensors)")
    taken = next(iter(states)) if which is None else which
    if taken not in states:
        have = ", ".join(key or "no key" for key in states)
        raise WeightsError(f"{path}: no weights under {which!r}; there are some under {have}")
    others = [repr(key) for key in states if key != taken]
    note = f"weights under {taken!r}, others under {', '.join(others)} (--weights takes them)" if others else ""
    return states[taken], note


def _states(content: Any, depth: int) -> dict[str, dict[str, Tensor]]:
    """The state dicts in nested dicts by their keys, the one to prefer first."""
    if not isinstance(content, Mapping) or depth == 0:
        return {}
    states = {
        f"{key}.{inner}" if inner else key: state
        for key in WRAPPERS
        for inner, state in _states(content.get(key), depth - 1).items()
    }
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    return states or ({"": tensors} if tensors else {})


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
    counts = [name for name, tensor in state.items() if name in COUNTS and tensor.numel() == 1]
    if counts:
        state = strip_prefixes({name: tensor for name, tensor in state.items() if name not in counts})
        yield Reading(state)
    if all(name.startswith(SECOND) for name in state):
        behind = {name.removeprefix(SECOND): tensor for name, tensor in state.items()}
        yield Reading(strip_prefixes(behind), None, SECOND)
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
