"""JSON: an object a line, an array of objects, or an object of columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from overfit_lab.errors import RunFolderError
from overfit_lab.files.json_text import parse_json
from overfit_lab.files.limits import LOG_BYTES
from overfit_lab.importing.longform import long_form
from overfit_lab.importing.source import LogError, Source
from overfit_lab.importing.table import Format, Table, table_of

ROWS = ("metrics", "history", "log_history", "rows", "data", "records", "logs")
"""Keys of an object below which rows are looked for."""


def recognises(source: Source) -> bool:
    """Text that begins as an object or as an array of objects."""
    if not source.is_text:
        return False
    start = source.text.lstrip("\ufeff \t\n\r")[:200]
    return start.startswith("{") or (start.startswith("[") and start[1:].lstrip()[:1] in ("{", "]"))


def read(source: Source) -> list[Table]:
    """JSON, an object a line, an array of objects or an object of columns: the one table of the file.

    Groups within a row become names with slashes; lists are passed over. A last line that was cut off is passed over.
    """
    try:
        content = _parse(source.text, str(source))
    except LogError as error:
        if "nested" in str(error):
            raise
        return _read_lines(source)
    rows = _rows(content)
    if rows is None:
        raise LogError(f"{source}: expected JSON objects, one a row")
    wrong = next((i for i, row in enumerate(rows) if not isinstance(row, Mapping)), None)
    if wrong is not None:
        raise LogError(f"{source}, row {wrong + 1}: expected a JSON object, got {str(rows[wrong])[:40]}")
    return long_form(table_of(source, [flat(row) for row in rows]))


def _parse(text: str, name: str) -> Any:
    """The values of a text, numbers that are not finite among them.

    Raises:
        LogError: it is no JSON, or beyond a limit.
    """
    try:
        return parse_json(text, name, most=LOG_BYTES, not_finite=float)
    except RunFolderError as error:
        raise LogError(str(error)) from error


def _rows(content: Any) -> list[Any] | None:
    """The rows of an array, of an object of columns, or of an object that holds rows."""
    if isinstance(content, list):
        return content
    if not isinstance(content, Mapping):
        return None
    for key in ROWS:
        if isinstance(content.get(key), list) and content[key] and isinstance(content[key][0], Mapping):
            return content[key]
    if isinstance(content.get("columns"), list) and isinstance(content.get("data"), list):  # pandas, orient="split"
        rows = [row if isinstance(row, list) else [row] for row in content["data"]]
        return [dict(zip(map(str, content["columns"]), row, strict=False)) for row in rows]
    columns = {key: _column(value) for key, value in content.items()}
    lengths = {len(column) for column in columns.values() if column is not None}
    if len(lengths) == 1 and all(column is not None for column in columns.values()):
        return [{key: column[i] for key, column in columns.items() if column} for i in range(lengths.pop())]
    return [content]


def _column(value: Any) -> list[Any] | None:
    """A column as a list: one, or an object whose keys are row numbers, as pandas writes it."""
    if isinstance(value, list):
        return value
    if isinstance(value, Mapping) and value and all(str(key).isdecimal() for key in value):
        return [value[key] for key in sorted(value, key=lambda key: int(key))]
    return None


def _read_lines(source: Source) -> list[Table]:
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    notes: list[str] = []
    numbered = [(i, line) for i, line in enumerate(source.text.split("\n"), start=1) if line.strip()]
    for i, line in numbered:
        try:
            row = _parse(line, "it")
        except LogError as error:
            if i == numbered[-1][0] and rows:
                notes.append(f"line {i} is cut off, it is passed over")
                break
            raise LogError(f"{source}, line {i}: is not JSON ({error})") from error
        if not isinstance(row, Mapping):
            raise LogError(f"{source}, line {i}: expected a JSON object, got {line.strip()[:40]!r}")
        rows.append(flat(row))
        lines.append(i)
    return long_form(table_of(source, rows, lines, notes=notes))


def flat(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A row with groups spelled out: ``test/acc``; what is no number, text or truth is left out."""
    cells: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            cells |= flat(value, f"{prefix}{key}/")
        elif value is None or isinstance(value, (int, float, str)):
            cells[f"{prefix}{key}"] = value
    return cells


REGISTER = {"json": Format(recognises, read, general=True)}
