"""Rendering of templates with every value escaped, and of data within script elements."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from overfit_lab.files.escape import for_html, for_terminal_lines, with_code

ESCAPES = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"}
"""Letters that end a script element or a line of one; within JSON they stand in strings alone."""


@cache
def _environment() -> Environment:
    loader = PackageLoader("overfit_lab.views.report", "templates")
    made = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=visible,
    )
    made.filters["commands"] = commands
    return made


def commands(text: str) -> Markup:
    """Escaped text, with what is between backticks as code.

    Example:
        >>> str(commands("a < b: `overfit-lab probe RUN`"))
        'a &lt; b: <code>overfit-lab probe RUN</code>'
    """
    return Markup(with_code(text, for_html, lambda code: Markup("<code>{}</code>").format(for_html(code))))


def visible(data: Any) -> Any:
    """Data in which no text hides anything or turns its direction; escaping it is the template's."""
    if isinstance(data, str):
        return data if isinstance(data, Markup) else for_terminal_lines(data)
    if isinstance(data, Mapping):
        return {visible(key): visible(value) for key, value in data.items()}
    return [visible(value) for value in data] if isinstance(data, list | tuple) else data


def render(template: str, **values: Any) -> Markup:
    """A template of ``report/templates`` filled in; every value that is not Markup is escaped."""
    return Markup(_environment().get_template(template).render(**values))


def to_script(data: Any) -> Markup:
    r"""Data as JSON that may stand within a script element; numbers that are not finite become null.

    Example:
        >>> str(to_script({"a<b": float("nan"), "n": 1}))
        '{"a\\u003cb":null,"n":1}'
    """
    text = json.dumps(_plain(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(ESCAPES))


def _plain(data: Any) -> Any:
    """The same data in plain JSON types."""
    if isinstance(data, Mapping):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, np.ndarray):
        return _plain(data.tolist())
    if isinstance(data, Sequence) and not isinstance(data, str):
        return [_plain(value) for value in data]
    if isinstance(data, np.generic):
        return _plain(data.item())
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data
