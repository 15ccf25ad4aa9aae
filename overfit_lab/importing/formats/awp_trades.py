"""log.txt of AWP's loop for TRADES."""

from __future__ import annotations

from typing import Any

from overfit_lab.importing.source import LogError, Source
from overfit_lab.importing.table import Format, Table, table_of

FIELDS = {
    "Learning Rate": "lr",
    "Adv Train Loss": "loss",
    "Nat Train Loss": "train_loss",
    "Nat Val Loss": "test_loss",
    "Adv Train Acc.": "train_robust_acc",
    "Nat Train Acc.": "train_acc",
    "Nat Val Acc.": "test_acc",
}


def recognises(source: Source) -> bool:
    """Text whose first line is those names with tabs between them."""
    return source.is_text and [name for name in source.first_line.split("\t") if name.strip()] == list(FIELDS)


def read(source: Source) -> list[Table]:
    """log.txt of AWP's loop for TRADES (csdongxian/AWP, trades_AWP): tabs between cells, a line an epoch from 1.

    It has no column of epochs; accuracies are percentages. "Val" is what that loop measures on its test loader, and the
    loss "Adv" the one that is trained on.
    """
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    numbered = [(i, line) for i, line in enumerate(source.lines, start=1) if line.strip()][1:]
    notes: list[str] = []
    for i, line in numbered:
        cells = [cell.strip() for cell in line.rstrip("\t").split("\t")]
        if len(cells) != len(FIELDS):
            if i == numbered[-1][0]:
                notes.append(f"line {i} is cut off, it is passed over")
                continue
            raise LogError(f"{source}, line {i}: has {len(cells)} cells, expected {len(FIELDS)}")
        rows.append({"epoch": len(rows) + 1, **dict(zip(FIELDS, cells, strict=True))})
        lines.append(i)
    if not rows:
        raise LogError(f"{source}: has names of columns and no line of an epoch")
    return [table_of(source, rows, lines, fields=FIELDS, numbering="one", percent=True, notes=notes)]


REGISTER = {"awp-trades": Format(recognises, read)}
