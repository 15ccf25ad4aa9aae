"""Which run a cell is: a short hash of what its configuration says beyond the defaults."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from overfit_lab.config import Options, Part, RunConfig
from overfit_lab.config.catalog import LABELS, OBJECTIVES, REGULARIZERS, SCHEDULES
from overfit_lab.config.options import options_model
from overfit_lab.config.registry import Registry
from overfit_lab.config.schema import Affects
from overfit_lab.models.factory import EVERY_MODEL, MODEL_CONTEXT, find_model
from overfit_lab.records.identity import affects

LENGTH = 12
"""Hexadecimal digits: among a million cells two agree by chance with probability 0.002."""


def cell_id(config: RunConfig) -> str:
    """The name of a cell's folder, the same on every machine and in every version of Python.

    Options that have their default are left out, so an option that a later version adds changes no name; neither does
    the order of keys, nor what is no part of :func:`~.records.identity.run`. A default that changes leaves the
    name too, so the configurations of a folder of that name are compared as well. A precision of fp32 has the name of
    ``auto``.

    Args:
        config: complete.

    Returns:
        12 hexadecimal digits.
    """
    text = json.dumps(_plain(essence(config)), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:LENGTH]


def essence(config: RunConfig) -> dict[str, Any]:
    """What a complete configuration says beyond the defaults, as nested plain values; a component keeps its name."""
    content = _without_place(config.model_dump(mode="json", exclude_defaults=True), type(config))
    for key, registry in (("objective", OBJECTIVES), ("labels", LABELS), ("schedule", SCHEDULES)):
        content[key] = _part(getattr(config, key), registry)
    content["regularizers"] = [_part(part, REGULARIZERS) for part in config.regularizers]
    content["model"] = _model(config.model)
    content.setdefault("attack", {})["eps_schedule"] = _part(config.attack.eps_schedule, SCHEDULES)
    content["data"] = {"name": config.data.name, **content.get("data", {})}
    if config.compute.precision == "fp32":  # unsaid in recipes of earlier versions, whose cells keep their folders
        content["compute"] = {key: value for key, value in content["compute"].items() if key != "precision"}
        content = {key: value for key, value in content.items() if key != "compute" or value}
    return content


def _part(part: Part, registry: Registry) -> dict[str, Any]:
    return {"name": part.name, **_beyond(part.options, options_model(registry[part.name]))}


def _model(part: Part) -> dict[str, Any]:
    factory, _ = find_model(part.name)
    options = {key: value for key, value in part.options.items() if key not in EVERY_MODEL}
    every = {key: value for key, value in part.options.items() if key in EVERY_MODEL and value is not None}
    return {"name": part.name, **_beyond(options, options_model(factory, MODEL_CONTEXT)), **every}


def _beyond(options: Mapping[str, Any], model: type[Options] | None) -> dict[str, Any]:
    """Those of a component's options that are not their defaults; all where they are not declared."""
    if model is None:
        return dict(options)
    return model.model_validate(dict(options)).model_dump(mode="json", exclude_defaults=True)


def _without_place(content: Mapping[str, Any], schema: type[RunConfig], prefix: str = "") -> dict[str, Any]:
    return {
        key: _without_place(value, schema, f"{prefix}{key}.") if isinstance(value, Mapping) and not prefix else value
        for key, value in content.items()
        if affects(f"{prefix}{key}", schema) is not Affects.NOTHING
    }


def _plain(value: Any) -> Any:
    """Numbers that are equal written alike: 1.0 as 1."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
