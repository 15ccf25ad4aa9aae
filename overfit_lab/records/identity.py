"""Which runs are the same in what. Every key of the schema says what it affects; whoever groups runs asks here.

Four questions, each answered by what is left of a configuration, dotted keys to values, equal where the answer is yes:
seeds of one :func:`experiment`, accuracies that may be compared (:func:`setting`), the same :func:`training`, the same
:func:`run`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel

from overfit_lab.config.schema import Affects, Part, RunConfig

SETTING = frozenset((Affects.TASK, Affects.MEASURE))
EXPERIMENT = SETTING | {Affects.METHOD}
TRAINING = frozenset((Affects.TASK, Affects.METHOD, Affects.SEED))
RUN = frozenset(Affects) - {Affects.NOTHING}
KNOWN, SETTINGS = "monitored.known", "monitored.config"
ORDER = "regularizers.order"
"""Stands for the order in which regularizers are applied, where there are several."""


def experiment(config: RunConfig, also_free: Sequence[str] = ()) -> dict[str, Any]:
    """What seeds of one experiment have in common: what was trained and how it was attacked.

    ``also_free`` are further keys, or groups of them, that are left out.
    """
    return _part(config, EXPERIMENT, also_free)


def setting(config: RunConfig) -> dict[str, Any]:
    """What experiments must share for their accuracies to be compared: what is learnt, by what, against what."""
    return _part(config, SETTING)


def training(config: RunConfig) -> dict[str, Any]:
    """What decides the trained weights."""
    return _part(config, TRAINING)


def run(config: RunConfig) -> dict[str, Any]:
    """What must be equal for a run to be gone on with as another: all but its name and where its data lie."""
    return _part(config, RUN)


def changed(recorded: RunConfig, now: RunConfig, also_free: Sequence[str] = ()) -> str:
    """The first key in which a run cannot be gone on with as another, with both values; "" where it can.

    Example:
        >>> changed(RunConfig(epochs=5), RunConfig(epochs=8))
        'epochs is 5 there and 8 now'
    """
    before, after = (_part(config, RUN, also_free) for config in (recorded, now))
    for key in dict.fromkeys([*before, *after]):
        if before.get(key) != after.get(key):
            return f"{key} is {_shown(before.get(key))} there and {_shown(after.get(key))} now"
    return ""


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)


def affects(key: str, schema: type[RunConfig] = RunConfig) -> Affects:
    """What a dotted key changes; an option of a component does what the component does."""
    known = classes(schema)
    while key not in known and "." in key:
        key = key.rpartition(".")[0]
    return known.get(key, Affects.METHOD)


@cache
def classes(schema: type[BaseModel] = RunConfig, prefix: str = "") -> dict[str, Affects]:
    """Every declared key with what it affects; one that does not say so is missing."""
    marks: dict[str, Affects] = {}
    for name, field in schema.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel) and not issubclass(inner, Part):
            marks |= classes(inner, f"{prefix}{name}.")
        for mark in field.metadata:
            if isinstance(mark, Affects):
                marks[f"{prefix}{name}"] = mark
    return marks


def flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted keys; a list of named parts counts as a group by name."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, list) and value and all(isinstance(part, Mapping) for part in value):
            value = {str(part["name"]): part for part in value}
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _part(config: RunConfig, wanted: frozenset[Affects], also_free: Sequence[str] = ()) -> dict[str, Any]:
    flat = flatten(config.model_dump(mode="json"))
    if len(config.regularizers) > 1:
        flat[ORDER] = ", ".join(part.name for part in config.regularizers)
    if not config.monitored.config:
        flat.pop(SETTINGS, None)  # no settings are no value of a setting
    free = tuple(f"{key}." for key in also_free)
    return {
        key: value
        for key, value in flat.items()
        if affects(key, type(config)) in wanted and config.knows(key) and not f"{key}.".startswith(free)
    }
