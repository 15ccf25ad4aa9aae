"""Keys set by hand over a configuration: ``--set KEY=VALUE``, and what recipes and grids set."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from overfit_lab.config.files import parse_config
from overfit_lab.config.permission import allow
from overfit_lab.config.schema import L2_DEFAULTS, Part, RunConfig
from overfit_lab.errors import ConfigError, unknown_name
from overfit_lab.files.yaml_text import parse_yaml


def apply_overrides(config: RunConfig, assignments: list[str]) -> RunConfig:
    """The configuration with ``key=value`` assignments applied in order; values are read as YAML.

    Naming another component (``labels.name=sglr``) drops the options of the one it replaces.

    Raises:
        ConfigError: no ``=``, an unknown key, or a value out of bounds.
    """
    content = config.model_dump(mode="json")
    allow(*assignments)  # whoever writes an assignment may name code of his own
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ConfigError(f"--set {assignment!r}: expected key=value, such as labels.r=0.2")
        value = parse_yaml(text, f"--set {assignment!r}", "the value is not valid YAML")
        _assign(content, key.split("."), value, assignment)
    return parse_config(content, "--set")


def apply_settings(config: RunConfig, settings: Iterable[tuple[str, Any]], source: str = "settings") -> RunConfig:
    """The configuration with keys set to values in order, as :func:`apply_overrides` does with text.

    Raises:
        ConfigError: an unknown key, or a value out of bounds.
    """
    content = config.model_dump(mode="json")
    for key, value in settings:
        _assign(content, key.split("."), value, f"{key}={value}")
    return parse_config(content, source)


def _assign(content: dict[str, Any], path: list[str], value: Any, assignment: str) -> None:
    if path[0] not in RunConfig.model_fields:
        raise unknown_name("key", path[0], RunConfig.model_fields)
    group: Any = content
    for depth, part in enumerate(path[:-1]):
        group = _step_into(group, part, path[:depth], assignment)
        if not isinstance(group, (dict, list)):
            raise ConfigError(f"{assignment!r}: {'.'.join(path[: depth + 1])} is a value, not a group of keys")
    if isinstance(group, list):
        raise ConfigError(f"{assignment!r}: expected {path[0]}.NAME.OPTION=value, or {path[0]}=[NAME,...]")
    value = _spelled_out(path, value)
    for dropped in _replaced(group, path, value):
        group.pop(dropped)
    group[path[-1]] = value


def _step_into(group: Any, part: str, above: list[str], assignment: str) -> Any:
    """The group of keys that one part of a dotted key leads to; a list of components is entered by name."""
    if isinstance(group, list):
        named = [entry for entry in group if isinstance(entry, dict) and entry.get("name") == part]
        if not named:
            have = ", ".join(str(entry.get("name")) for entry in group if isinstance(entry, dict)) or "empty"
            raise ConfigError(f"{assignment!r}: {'.'.join(above)} has no {part!r} (it is: {have})")
        return named[0]
    return group.setdefault(part, {})


def _spelled_out(path: list[str], value: Any) -> Any:
    """Components that are given by their names alone as keys and values, so that options can be set after them."""
    if path == ["regularizers"]:
        names = value.split(",") if isinstance(value, str) and value not in ("", "none") else value
        entries = names if isinstance(names, list) else []
        return [{"name": name.strip()} if isinstance(name, str) else name for name in entries] or names
    return {"name": value} if isinstance(value, str) and _annotation(path) is Part else value


def _replaced(group: dict[str, Any], path: list[str], value: Any) -> list[str]:
    """Keys whose values belong to what is replaced: a component's options, the lengths in another norm."""
    if group.get(path[-1]) == value:
        return []
    if path[-1] == "name" and _annotation(path[:-1]) is Part:
        return list(group)
    return [key for key in L2_DEFAULTS if key in group] if path == ["attack", "norm"] else []


def _annotation(path: list[str]) -> Any:
    """The type that a dotted key stands for; None where it is not a declared one."""
    current: Any = RunConfig
    for part in path:
        field = current.model_fields.get(part) if isinstance(current, type) and issubclass(current, BaseModel) else None
        current = field.annotation if field else None
    return current
