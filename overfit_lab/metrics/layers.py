"""How parameters are gathered into layers."""

from __future__ import annotations

from collections.abc import Iterable


def layer_of(parameter: str, depth: int | None = None) -> str:
    """The module that owns a parameter, cut to ``depth`` parts of its path; "model" for the model's own.

    Example:
        >>> layer_of("stages.0.1.conv1.weight")
        'stages.0.1.conv1'
        >>> layer_of("stages.0.1.conv1.weight", depth=2)
        'stages.0'
    """
    path = parameter.split(".")[:-1]
    return ".".join(path[:depth]) or "model"


def group_by_layer(parameters: Iterable[str], depth: int | None = None) -> dict[str, list[str]]:
    """Layer to the names of its parameters, in the model's order."""
    groups: dict[str, list[str]] = {}
    for name in parameters:
        groups.setdefault(layer_of(name, depth), []).append(name)
    return groups
