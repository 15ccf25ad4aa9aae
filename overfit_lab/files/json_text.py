"""JSON as values, within limits. The one place that reads JSON from files.

``NaN`` and ``Infinity``, which some writers put where a number is not finite, are read as null. Whole numbers of
hundreds of digits and halves of a character are refused: whatever is read can be written and printed again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from overfit_lab.errors import RunFolderError
from overfit_lab.files.limits import DIGITS, JSON_BYTES, JSON_DEPTH, JSON_VALUES, in_bytes
from overfit_lab.files.reading import as_text, cause, read_bytes


def read_json(path: Path, most: int = JSON_BYTES) -> Any:
    """The values of a file of JSON.

    Args:
        path: of the file.
        most: bytes that it may have.

    Raises:
        RunFolderError: it cannot be read, is damaged, or is beyond a limit.
    """
    try:
        text = as_text(read_bytes(path, most), path)
    except OSError as error:
        raise RunFolderError(f"{path}: {cause(error)}") from error
    return parse_json(text, str(path), most=most)


def read_object(path: Path, most: int = JSON_BYTES) -> dict[str, Any]:
    """The object that a file of JSON holds.

    Raises:
        RunFolderError: see :func:`read_json`; or it holds something else.
    """
    content = read_json(path, most)
    if not isinstance(content, dict):
        raise RunFolderError(f"{path}: damaged, expected a JSON object")
    return content


def _null(_: str) -> None:
    """What stands for a number that is not finite."""


def parse_json(
    text: str, source: str, *, most: int = JSON_BYTES, not_finite: Callable[[str], float | None] = _null
) -> Any:
    """The values of JSON text.

    Args:
        text: to parse.
        source: what to call it in messages.
        most: characters that it may have.
        not_finite: what stands for ``NaN``, ``Infinity`` and ``-Infinity``.

    Raises:
        RunFolderError: it is no JSON, or beyond a limit of :mod:`overfit_lab.files.limits`.
    """
    if len(text) > most:
        raise RunFolderError(f"{source}: has {in_bytes(len(text))}, expected {in_bytes(most)} of JSON at most")
    if (n := text.count(",") + text.count("[") + text.count("{")) > JSON_VALUES:
        raise RunFolderError(f"{source}: has some {n} values, expected {JSON_VALUES} at most")
    try:
        content = json.loads(text, parse_constant=not_finite, parse_int=_whole)
        _check(content, surrogates="\\u" in text)
    except json.JSONDecodeError as error:
        raise RunFolderError(f"{source}: damaged, not valid JSON in line {error.lineno}") from error
    except RecursionError as error:
        raise RunFolderError(f"{source}: is nested more than {JSON_DEPTH} deep") from error
    except ValueError as error:
        raise RunFolderError(f"{source}: damaged, {error}") from error
    return content


LINES = json.JSONDecoder(parse_constant=_null)


def parse_line(line: str) -> dict[str, Any]:
    """The object of one short line, at the speed of the library; what the values are is the caller's to see.

    Raises:
        ValueError: no object in JSON.
    """
    try:
        content = LINES.decode(line)
    except RecursionError as error:
        raise ValueError(f"is nested more than {JSON_DEPTH} deep") from error
    if not isinstance(content, dict):
        raise ValueError("expected a JSON object")
    if "\\u" in line:
        _check(content, surrogates=True)
    return content


def _whole(text: str) -> int:
    if len(text) > DIGITS:
        raise ValueError(f"a number has {len(text)} digits")
    return int(text)


def _check(content: Any, *, surrogates: bool) -> None:
    """Refuse what is nested too deeply, and text that no file can hold.

    Raises:
        ValueError: it is one.
    """
    level, depth = [content], 0
    while level:
        if depth > JSON_DEPTH:
            raise ValueError(f"is nested more than {JSON_DEPTH} deep")
        below: list[Any] = []
        for part in level:
            if isinstance(part, Mapping):
                below += part.values()
                if surrogates:
                    below += part.keys()
            elif isinstance(part, list):
                below += part
            elif surrogates and isinstance(part, str):
                _check_text(part)
        level, depth = [part for part in below if isinstance(part, (dict, list)) or surrogates], depth + 1


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{text[:60]!r} holds half a character") from error
