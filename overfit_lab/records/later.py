"""Options that came later: what runs had that are older than the option, whose folders do not name it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from overfit_lab.config import RunConfig, apply_settings

LATER: Mapping[str, Mapping[str, Any]] = {"preact-resnet18": {"final_norm": True, "shortcut": "activation"}}
"""By model, its options that are younger than the first run folders, and the value which all older runs had."""


def with_later_options(config: RunConfig) -> RunConfig:
    """A configuration that names them, so that older runs and younger ones of the same setting are one experiment."""
    missing = [
        (f"model.{key}", value) for key, value in later_options(config).items() if key not in config.model.options
    ]
    return apply_settings(config, missing) if missing else config


def later_options(config: RunConfig) -> Mapping[str, Any]:
    """The options of the run's model that came later, with what they were before."""
    return LATER.get(config.model.name.replace("_", "-"), {})
