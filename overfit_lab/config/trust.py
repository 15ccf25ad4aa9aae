"""Files are data: the code they name is refused in one line before anything begins, unless the user says otherwise.

This is the polite half of the rule, which sees a file as a whole. The door itself is
:mod:`overfit_lab.config.permission`: a name that is overlooked here is refused there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from overfit_lab.config.permission import allow, current, strings_of
from overfit_lab.config.registry import takes_argument
from overfit_lab.errors import ConfigError

DOTTED = re.compile(r"(?<![\w./-])([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*)(?![\w./-])")
"""``package.module:Attribute``, also behind a prefix such as ``train:``."""


def _names(text: str) -> Iterator[str]:
    """The names in one string that only an import could make sense of.

    Those that a registry takes for something else, such as ``torchvision:resnet18`` or ``train:trades``, are none.
    """
    while match := DOTTED.search(text):
        name = match[1]
        prefix = name.partition(":")[0]
        if prefix == "train":  # what is trained first: its own name stands behind
            text = text[match.start(1) + len("train:") :]
            continue
        if not takes_argument(prefix):
            yield name
        text = text[match.end(1) :]


def _leaves(content: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every string with the dotted key it stands at; a key that is a name itself counts too."""
    if isinstance(content, dict):
        for name, value in content.items():
            below = f"{key}.{name}" if key else str(name)
            if isinstance(name, str) and any(_names(name)):
                yield below, name
            yield from _leaves(value, below)
    elif isinstance(content, list | tuple):
        for i, value in enumerate(content):
            yield from _leaves(value, f"{key}.{i}")
    elif isinstance(content, str):
        yield key, content


def check_trusted(content: Any, source: str, *, trust: bool) -> None:
    """Refuse a file that names code which the user has not typed; with ``trust`` let it be imported.

    Args:
        content: a configuration, or nested plain values, as read from the file.
        source: the file or run folder, for the message.
        trust: the user said that its code may be imported.

    Raises:
        ConfigError: it names code, and the user did not allow that.
    """
    plain = content.model_dump(mode="json") if hasattr(content, "model_dump") else content
    if trust:
        allow(*strings_of(plain))
        return
    code = [
        f"{key} = {text!r}" for key, text in _leaves(plain) if any(not current().covers(name) for name in _names(text))
    ]
    if code:
        raise ConfigError(f"{source}: names code to run ({', '.join(code)}); add --trust if you trust this file")
