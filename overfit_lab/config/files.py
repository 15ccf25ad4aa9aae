"""Configurations in and out of nested plain values and YAML, and what is wrong with them in one line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from overfit_lab.config.permission import read_from_file
from overfit_lab.config.schema import FROM_CONTENT, MonitoredConfig, RunConfig
from overfit_lab.config.upgrade import CURRENT, VERSION_KEY, upgrade
from overfit_lab.errors import ConfigError, unknown_name
from overfit_lab.files.limits import YAML_BYTES
from overfit_lab.files.reading import cause, read_text
from overfit_lab.files.yaml_text import parse_yaml, to_text

LONGEST_SHOWN = 200
"""Characters of a wrong value in a message."""


def parse_config(content: Any, source: str = "configuration") -> RunConfig:
    """A validated configuration from nested dicts; without a version in them they are of today's.

    Raises:
        ConfigError: one line that names the first wrong key, its value and what would be right.
    """
    if not isinstance(content, Mapping):
        raise ConfigError(f"{source}: expected keys and values, got {type(content).__name__}")
    try:
        return RunConfig.model_validate(upgrade(content, source), context=FROM_CONTENT)
    except ValidationError as error:
        raise ConfigError(describe_validation_error(error, RunConfig)) from error


def describe_validation_error(error: ValidationError, model: type[BaseModel], prefix: str = "") -> str:
    """The first problem of a pydantic error as one line: key, value, what would be right, and how many more."""
    problems = error.errors(include_url=False)
    first = problems[0]
    path = [str(part) for part in first["loc"]]
    key = ".".join(part for part in [prefix, *path] if part)
    if first["type"] == "extra_forbidden":
        known = known_keys(model, path[:-1])
        if known:
            text = str(unknown_name("key", key.rsplit(".", 1)[-1], known))
            text = f"{key}: {text}" if "." in key else text
        else:
            text = f"{key}: unknown key, there are no options here"
    elif first["type"] == "missing":
        text = f"{key} is required"
    else:
        shown = repr(first["input"])
        said = first["msg"].removeprefix("Value error, ").removeprefix(f"{shown}: ")
        text = f"{key} = {shown if len(shown) <= LONGEST_SHOWN else shown[:LONGEST_SHOWN] + '…'}: {said}"
    more = len(problems) - 1
    return f"{text} (and {more} more)" if more else text


def known_keys(model: type[BaseModel], path: list[str]) -> list[str]:
    """The keys that a group of options at ``path`` below ``model`` may have."""
    current: type[BaseModel] = model
    for part in path:
        field = current.model_fields.get(part)
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        current = annotation
    return list(current.model_fields)


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Nested plain dicts, lists, numbers and strings, as YAML and JSON hold them; the version comes first.

    Of a monitored run the known keys alone, and of others no section about a monitor.
    """
    content = config.model_dump(mode="json")
    if config.monitored == MonitoredConfig():
        content.pop("monitored")
    return {VERSION_KEY: CURRENT, **_known_part(content, config)}


def _known_part(content: Mapping[str, Any], config: RunConfig, prefix: str = "") -> dict[str, Any]:
    known: dict[str, Any] = {}
    for key, value in content.items():
        if config.knows(f"{prefix}{key}"):
            known[key] = value
        elif isinstance(value, Mapping) and (inner := _known_part(value, config, f"{prefix}{key}.")):
            known[key] = inner
    return known


def to_yaml(config: RunConfig) -> str:
    """The configuration as YAML; :func:`from_yaml` gives it back, equal."""
    return to_text(to_dict(config))


def from_yaml(text: str, source: str = "YAML") -> RunConfig:
    """A configuration from YAML text; where it says no version it is of version 0.

    Raises:
        ConfigError: not YAML, or not a valid configuration.
    """
    return _of_content(parse_yaml(text, source), source)


def _of_content(content: Any, source: str) -> RunConfig:
    read_from_file(content)
    return parse_config({VERSION_KEY: 0, **content} if isinstance(content, Mapping) else content, source)


def load_config(path: Path) -> RunConfig:
    """A configuration from a YAML file.

    Raises:
        ConfigError: the file is absent, unreadable or not a valid configuration.
    """
    return _of_content(read_yaml(path, "a YAML configuration"), str(path))


def read_yaml(path: Path, kind: str) -> Any:
    """The values of a YAML file of some kind, such as "a YAML configuration".

    Raises:
        ConfigError: it is absent or unreadable, no YAML, or beyond a limit.
    """
    try:
        text = read_text(path, YAML_BYTES)
    except OSError as error:
        raise ConfigError(f"{path}: cannot read it as {kind} ({cause(error)})") from error
    return parse_yaml(text, str(path))
