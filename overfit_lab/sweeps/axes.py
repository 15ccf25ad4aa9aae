"""The axes of a sweep: how they are written on a command line, and what the cells are called."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from overfit_lab.errors import ConfigError
from overfit_lab.files.limits import SWEEP_CELLS
from overfit_lab.files.yaml_text import parse_yaml

LONGEST_NAME = 150
"""Of a cell; with the hash and a suffix it has to be a file name, of at most 255 bytes."""

Axes = Mapping[str, Sequence[Any]]
"""Keys of a configuration and the values that each takes."""


def parse_axes(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Axes from ``KEY=V1,V2,...``; values are read as YAML, and commas within brackets or quotes do not part them.

    Example:
        >>> parse_axes(["labels.r=0,0.2", "data.augment=[crop,flip],[]"])
        {'labels.r': [0, 0.2], 'data.augment': [['crop', 'flip'], []]}

    Raises:
        ConfigError: no key, no value, a value that is no YAML, or a key that comes twice.
    """
    axes: dict[str, list[Any]] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ConfigError(f"--grid {text!r}: expected key=value,value, such as labels.r=0,0.2")
        if key in axes:
            raise ConfigError(f"--grid {text!r}: {key} has values already; give all of them at once")
        parts = split_values(values)
        if not all(parts):
            raise ConfigError(f"--grid {text!r}: a value is empty (write '' or null where that is meant)")
        axes[key] = [parse_yaml(part, f"--grid {text!r}", "a value is not valid YAML") for part in parts]
    return axes


def split_values(text: str) -> list[str]:
    """The parts of a text between its commas, but for those within brackets, braces or quotes.

    Example:
        >>> split_values("[a, b],[],'x,y', 8/255")
        ['[a, b]', '[]', "'x,y'", '8/255']
    """
    parts, part, depth, quote = [], "", 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"" and part.strip()[-1:] in ("", "[", "{", ",", ":"):
            quote = character
        elif character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        elif character == "," and depth <= 0:
            parts.append(part.strip())
            part = ""
            continue
        part += character
    return [*parts, part.strip()]


def name_cells(axes: Axes, seeds: Sequence[int]) -> list[tuple[str, dict[str, Any], int]]:
    """Every combination with a plain, unique name made of it.

    A setting is called by the last part of its key, or by more of it where that is not unique; ``.name`` is left out.

    Example:
        >>> [name for name, _, _ in name_cells({"labels.name": ["sglr"], "labels.r": [0, 0.2]}, [3])]
        ['labels_sglr-r0-seed3', 'labels_sglr-r0.2-seed3']

    Raises:
        ConfigError: too many.
    """
    check_size(axes, len(seeds))
    labels = [_labels(short, axes[key]) for key, short in short_keys(list(axes)).items()]
    cells = []
    for picked in itertools.product(*(range(len(values)) for values in axes.values())):
        settings = {key: values[i] for (key, values), i in zip(axes.items(), picked, strict=True)}
        parts = [of_axis[i] for of_axis, i in zip(labels, picked, strict=True)]
        cells += [("-".join([*parts, f"seed{seed}"]), settings, seed) for seed in seeds]
    names = [name for name, _, _ in cells]
    if len({name.lower() for name in names}) < len(names) or max(map(len, names)) > LONGEST_NAME:
        names = [f"cell{number}-seed{seed}" for number, (_, _, seed) in enumerate(cells, start=1)]
    return [(name, settings, seed) for name, (_, settings, seed) in zip(names, cells, strict=True)]


def check_size(axes: Axes, n_seeds: int) -> None:
    """Refuse a sweep of more runs than one can have, before any of them is spelled out.

    Raises:
        ConfigError: it has more.
    """
    n = n_seeds * math.prod(len(values) for values in axes.values())
    if n > SWEEP_CELLS:
        raise ConfigError(f"the axes and seeds make {n:,} runs; expected {SWEEP_CELLS:,} at most")


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """By each key as many of its last parts as tell it from the others and from the seed.

    Example:
        >>> short_keys(["labels.r", "optimizer.lr", "data.seed", "model.name"])
        {'labels.r': 'r', 'optimizer.lr': 'lr', 'data.seed': 'data.seed', 'model.name': 'model'}
    """
    parts = {key: key.removesuffix(".name").split(".") for key in keys}
    short = {}
    for key, path in parts.items():
        others = [["seed"], *(other for name, other in parts.items() if name != key)]
        lengths = (n for n in range(1, len(path) + 1) if all(other[-n:] != path[-n:] for other in others))
        n = next(lengths, None)
        short[key] = _plain(key if n is None else ".".join(path[-n:]))
    return short


def _labels(key: str, values: Sequence[Any]) -> list[str]:
    """A plain word for each value of an axis; equal ones are numbered."""
    words = []
    for value in values:
        word = _plain(_to_text(value))
        words.append(f"{key}{word}" if word[0] in "0123456789-." else f"{key}_{word}")
    again = {word for word, n in Counter(word.lower() for word in words).items() if n > 1}
    return [f"{word}_{i}" if word.lower() in again else word for i, word in enumerate(words, start=1)]


def _to_text(value: Any) -> str:
    if value is None or value in ([], (), {}):
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "-".join(map(_to_text, value))
    if isinstance(value, Mapping) and "name" in value:
        options = [f"{key}{_to_text(item)}" for key, item in value.items() if key != "name"]
        return "-".join([_to_text(value["name"]), *options])
    if isinstance(value, Mapping):
        return "-".join(f"{key}-{_to_text(item)}" for key, item in value.items())
    return str(value)


def _plain(text: str) -> str:
    """What of a text a file name may hold, at most 40 characters; a minus sign before a number stays."""
    sign = "-" if re.match(r"-[.\d]", text) else ""
    return (sign + re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-"))[:40] or "empty"
