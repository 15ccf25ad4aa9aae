"""The formats of a table and the file suffixes for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from overfit_lab.views.tables.as_data import as_csv, as_json
from overfit_lab.views.tables.as_latex import as_latex
from overfit_lab.views.tables.as_text import as_markdown, as_plain
from overfit_lab.views.tables.table import Table

FORMATS: Mapping[str, Callable[[Table], str]] = {
    "table": as_plain,
    "markdown": as_markdown,
    "latex": as_latex,
    "csv": as_csv,
    "json": as_json,
}
SUFFIXES = {".txt": "table", ".md": "markdown", ".tex": "latex", ".csv": "csv", ".json": "json"}
