"""The version of what configurations mean, and the one way in which an older file becomes one of today.

A file says its version as ``schema: N``; one without it is of version 0, from before there were versions. Whoever
changes what a key means, or the default of one, raises :data:`CURRENT` and adds a step to :data:`STEPS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from overfit_lab.errors import ConfigError

CURRENT = 2
VERSION_KEY = "schema"
LATER_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "preact-resnet18": {"final_norm": True, "shortcut": "activation"},
}
"""By model, options that version 0 did not know, and the value that all its runs had."""


def later_options(model: str) -> Mapping[str, Any]:
    """The options of a model that version 0 did not know, with what they were then."""
    return LATER_OPTIONS.get(model.replace("_", "-"), {})


def upgrade(content: Mapping[str, Any], source: str, *, absent: int = CURRENT) -> dict[str, Any]:
    """Keys and values of a configuration of any version as today's, without the key that says the version.

    Args:
        content: as it was read; it is not changed.
        source: where it was read, for messages.
        absent: the version of content that says none: 0 for files, today's for what code makes.

    Raises:
        ConfigError: no version, or a later one than this package knows.
    """
    version = content.get(VERSION_KEY, absent)
    if isinstance(version, bool) or not isinstance(version, int) or version < 0:
        raise ConfigError(f"{source}: {VERSION_KEY} = {version!r}: expected a whole number from 0 to {CURRENT}")
    if version > CURRENT:
        raise ConfigError(
            f"{source}: {VERSION_KEY} = {version}: written by a later overfit-lab; this one reads up to {CURRENT}"
        )
    content = {key: value for key, value in content.items() if key != VERSION_KEY}
    for step in STEPS[version:]:
        content = step(content)
    return content


def _from_0(content: dict[str, Any]) -> dict[str, Any]:
    """Names the model options that came after version 0; a size without a unit was one in bytes."""
    model = content.get("model")
    model = {"name": model} if isinstance(model, str) else model
    if isinstance(model, Mapping) and (later := later_options(str(model.get("name")))):
        content = {**content, "model": {**model, **{key: later[key] for key in later if key not in model}}}
    for group, key in (("data", "memory_limit"), ("compute", "label_memory_limit")):
        values = content.get(group)
        size = values.get(key) if isinstance(values, Mapping) else None
        if isinstance(values, Mapping) and isinstance(size, str) and size.strip().replace(".", "", 1).isdecimal():
            content = {**content, group: {**values, key: f"{size.strip()}B"}}
    return content


def _from_1(content: dict[str, Any]) -> dict[str, Any]:
    """A monitor wrote defaults as if they were the loop's; what it knew is what it measured with."""
    model = content.get("model")
    name = str(model.get("name")) if isinstance(model, Mapping) else str(model)
    if content.get("name") == "monitor" and ":" in name and "monitored" not in content:
        return {**content, "monitored": {"known": list(MEASURED_WITH)}}
    return content


MEASURED_WITH = ("data.name", "model", "attack.norm", "attack.eps", "evaluation", "probes")
"""Keys that every monitor with an attack knows."""
STEPS: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = (_from_0, _from_1)
"""Step k makes of version k version k + 1."""
