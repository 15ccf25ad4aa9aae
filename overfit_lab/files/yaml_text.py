"""YAML as values, within limits: no text of a few lines may stand for more than a computer can hold.

The one place that reads and writes YAML. What aliases would unfold to is counted in a first pass over the text, which
builds nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from overfit_lab.errors import ConfigError
from overfit_lab.files.limits import DIGITS, YAML_BYTES, YAML_CHARACTERS, YAML_DEPTH, YAML_VALUES, in_bytes

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where PyYAML was built with it, which is ten times as fast; values are made by the same code."""
MERGE = "tag:yaml.org,2002:merge"
FAILURES = (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError)
"""What is raised on wrong text, and by makers of dates, numbers and the like on text that only looks like one."""


class _RefusedError(ValueError):
    """A text is beyond a limit; the message says which, ``line`` where."""

    def __init__(self, text: str, line: int) -> None:
        super().__init__(text)
        self.line = line


def parse_yaml(text: str, source: str, why: str = "not valid YAML") -> Any:
    """The values of YAML text.

    Args:
        text: of one document.
        source: what to call it in messages.
        why: what to say of text that is no YAML.

    Raises:
        ConfigError: it is no YAML, or beyond a limit of :mod:`overfit_lab.files.limits`; the message names the line.

    Cost: two passes, some 2 seconds a megabyte with libyaml.
    """
    if len(text) > YAML_BYTES:
        raise ConfigError(f"{source}: has {in_bytes(len(text))}, expected {in_bytes(YAML_BYTES)} of YAML at most")
    try:
        _check_size(text)
        loader = Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_keys(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except _RefusedError as error:
        raise ConfigError(f"{source}: {error} (line {error.line})") from error
    except FAILURES as error:
        raise ConfigError(f"{source}: {why}{_where(error)}") from error


def to_text(content: Any) -> str:
    """Plain values as YAML, keys in their order."""
    text: str = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=100)
    return text


def _where(error: BaseException) -> str:
    """The line of an error, or else what it says: such as of a month that there is not."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is not None:
        return f" in line {mark.line + 1}"
    return f" ({str(error).splitlines()[0][:100]})" if isinstance(error, ValueError) and str(error) else ""


def _check_size(text: str) -> None:
    """Refuse text that is nested too deeply, refers to itself, or is too much with its aliases spelled out."""
    sizes: dict[str | None, tuple[int, int]] = {}
    within: list[tuple[str | None, int, int]] = [(None, 0, 0)]
    event: Any
    for event in yaml.parse(text, Loader):
        line = event.start_mark.line + 1
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            within.append((event.anchor, 1, 0))
            if len(within) > YAML_DEPTH + 1:
                raise _RefusedError(f"is nested more than {YAML_DEPTH} deep", line)
            continue
        if isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            anchor, *size = within.pop()
            n, characters = size
        elif isinstance(event, yaml.ScalarEvent):
            anchor, n, characters = event.anchor, 1, len(event.value)
        elif isinstance(event, yaml.AliasEvent):
            if any(event.anchor == name for name, _, _ in within):
                raise _RefusedError(f"alias *{event.anchor} stands within what it stands for", line)
            anchor, (n, characters) = None, sizes.get(event.anchor, (0, 0))  # an unknown one is refused later
        else:
            continue
        if anchor is not None:
            sizes[anchor] = n, characters
        name, n_before, characters_before = within[-1]
        within[-1] = name, n_before + n, characters_before + characters
        if n_before + n > YAML_VALUES:
            raise _RefusedError(f"has more than {YAML_VALUES} values, aliases spelled out", line)
        if characters_before + characters > YAML_CHARACTERS:
            raise _RefusedError(f"has more than {YAML_CHARACTERS} characters, aliases spelled out", line)


def _check_keys(root: yaml.Node) -> None:
    """Refuse a key that comes twice in a mapping, and numbers of more digits than anything has."""
    for node in _nodes(root):
        if isinstance(node, yaml.MappingNode):
            keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            seen = set[tuple[str, str]]()
            for key in keys:
                if key in seen and key[0] != MERGE:
                    raise _RefusedError(f"key {key[1][:60]!r} comes twice in one group", node.start_mark.line + 1)
                seen.add(key)
        elif isinstance(node, yaml.ScalarNode) and node.tag.endswith((":int", ":float")) and len(node.value) > DIGITS:
            raise _RefusedError(f"a number has {len(node.value)} digits", node.start_mark.line + 1)


def _nodes(root: yaml.Node) -> Iterator[yaml.Node]:
    """Every node once, however many aliases lead to it."""
    left, seen = [root], {id(root)}
    while left:
        node = left.pop()
        yield node
        if isinstance(node, yaml.CollectionNode):
            below = [part for entry in node.value for part in (entry if isinstance(entry, tuple) else (entry,))]
            left += [part for part in below if id(part) not in seen]
            seen.update(map(id, below))
