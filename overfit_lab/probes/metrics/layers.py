"""Trainable parameters, and their grouping into layers."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from overfit_lab.errors import ProbeError


def layer_of(parameter: str, depth: int | None = None) -> str:
    """The module that owns a parameter, cut to ``depth`` parts of its path; "model" for the model's own.

    Example:
        >>> layer_of("stages.0.1.conv1.weight")
        'stages.0.1.conv1'
        >>> layer_of("stages.0.1.conv1.weight", depth=2)
        'stages.0'
    """
    return ".".join(parameter.split(".")[:-1][:depth]) or "model"


def group_by_layer(parameters: Iterable[str], depth: int | None = None) -> dict[str, list[str]]:
    """Layer to the names of its parameters, in the model's order."""
    groups: dict[str, list[str]] = {}
    for name in parameters:
        groups.setdefault(layer_of(name, depth), []).append(name)
    return groups


def trainable_by_name(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that require a gradient, by name, in the model's order.

    Raises:
        ProbeError: there is none, so that there is nothing to differentiate with respect to.
    """
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not trainable:
        raise ProbeError("the model has no trainable parameter; set requires_grad of those to be looked at")
    return trainable
