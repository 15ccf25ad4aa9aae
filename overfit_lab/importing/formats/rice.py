"""output.log of Rice et al. 2020, and of the loops that were made from it: AWP's and ReBAT's."""

from __future__ import annotations

import ast
import re
from typing import Any

from overfit_lab.importing.source import LogError, Source
from overfit_lab.importing.table import Format, Table, table_of

STAMP = re.compile(r"^\[[0-9]{4}/[0-9/]+ [0-9:]+\](?: - )?\s*")
PREFIX = re.compile(r"^\[([\w ]*)\]\s+(?=\d+\s)")
ROW = re.compile(r"\d+(?:\s+(?:-?[\d.]+(?:e-?\d+)?|nan|inf)){3,}\s*", re.I)
VALIDATION = re.compile(r"validation\s+(.*)")
NEEDED = ("Epoch", "Train Robust Acc", "Test Robust Acc")
FIELDS = {
    "Epoch": "epoch",
    "Train Time": "seconds_training",
    "Test Time": "seconds_evaluation",
    "LR": "lr",
    "Train Loss": "train_loss",
    "Train Acc": "train_acc",
    "Train Robust Loss": "train_robust_loss",
    "Train Robust Acc": "train_robust_acc",
    "Test Loss": "test_loss",
    "Test Acc": "test_acc",
    "Test Robust Loss": "test_robust_loss",
    "Test Robust Acc": "test_robust_acc",
}
VAL = ("Val Loss", "Val Acc", "Val Robust Loss", "Val Robust Acc")
"""Of the line "validation" after an epoch's, in this order."""
WEIGHTS = {"wa_": "wa"}
"""Prefixes of ReBAT's second weights."""


def recognises(source: Source) -> bool:
    """Text with the line of the columns' names."""
    return source.is_text and any(_is_header(line) for line in source.lines)


def _is_header(line: str) -> bool:
    return set(NEEDED) <= set(_names(line))


def _names(line: str) -> list[str]:
    """The names of columns between tabs, without the time before them."""
    return [cell for part in STAMP.sub("", line).split("\t") if (cell := part.strip())]


def read(source: Source) -> list[Table]:
    """output.log of Rice et al. 2020 (locuslab/robust_overfitting), AWP (csdongxian/AWP) and ReBAT (PKU-ML/ReBAT).

    A table with blanks between the cells, a line an epoch from 0, each after the time in brackets; accuracies are
    fractions, those on train running means over the epoch. The line "validation" has the same epoch's numbers on val.
    ReBAT writes its averaged weights' line, marked ``[wa_]``, after that of the weights themselves, and where it
    measures them on train another of the same form.
    """
    names: list[str] = []
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    notes: list[str] = []
    settings: dict[str, Any] = {}
    last = max((i for i, line in enumerate(source.lines) if line.strip()), default=0)
    for i, line in enumerate(source.lines):
        text = STAMP.sub("", line)
        if _is_header(line):
            names = _names(line)
        elif text.startswith("Namespace("):
            settings |= settings_in(text)
        elif match := VALIDATION.match(text):
            _add_validation(rows, match[1].split())
        elif names:
            prefix = PREFIX.match(text)
            text = text[prefix.end() :] if prefix else text
            if not ROW.fullmatch(text):
                continue
            cells = text.split()
            if len(cells) != len(names):
                if i == last:
                    notes.append(f"line {i + 1} is cut off, it is passed over")
                    continue
                raise LogError(f"{source}, line {i + 1}: has {len(cells)} numbers for {len(names)} columns")
            row = dict(zip(names, cells, strict=True))
            if row.get("LR", "").startswith("-"):
                continue  # a line of an evaluation alone
            weights = WEIGHTS.get(prefix[1].strip() if prefix else "", "")
            rows.append(_of_weights(row, weights, rows) if weights else row)
            lines.append(i + 1)
    if not rows:
        raise LogError(f"{source}: has names of columns and no line of an epoch")
    fields = {**FIELDS, **{name: name.lower().replace(" ", "_") for name in VAL}}
    fields |= {f"{name}@{weights}": f"{field}@{weights}" for name, field in fields.items() for weights in ("wa",)}
    numbering = "zero"
    return [
        table_of(source, rows, lines, fields=fields, numbering=numbering, percent=False, settings=settings, notes=notes)
    ]


def _add_validation(rows: list[dict[str, Any]], cells: list[str]) -> None:
    """The numbers on val, to the row before."""
    if rows and len(cells) == len(VAL):
        rows[-1] |= dict(zip(VAL, cells, strict=True))


def _of_weights(row: dict[str, Any], weights: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The numbers of second weights: on test, or where the line before was theirs already, on train."""
    test = f"Test Robust Acc@{weights}"
    again = bool(rows) and test in rows[-1] and rows[-1]["Epoch"] == row["Epoch"]
    split = "Train" if again else "Test"
    measured = {name: value for name, value in row.items() if name.startswith("Test ") and name != "Test Time"}
    return {
        "Epoch": row["Epoch"],
        **{f"{name.replace('Test', split, 1)}@{weights}": value for name, value in measured.items()},
    }


def settings_in(text: str) -> dict[str, Any]:
    """What argparse's Namespace(...) says, values that are plain.

    Example:
        >>> settings_in("Namespace(lr_max=0.1, norm='l_inf', seed=0)")
        {'lr_max': 0.1, 'norm': 'l_inf', 'seed': 0}
    """
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    settings = {}
    for keyword in call.keywords if isinstance(call, ast.Call) else ():
        try:
            value = ast.literal_eval(keyword.value)
        except ValueError:
            continue
        if keyword.arg and (value is None or isinstance(value, (bool, int, float, str))):
            settings[keyword.arg] = value
    return settings


REGISTER = {"rice": Format(recognises, read)}
