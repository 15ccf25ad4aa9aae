"""What the loops of TRADES print."""

from __future__ import annotations

import re
from typing import Any

from overfit_lab.importing.source import LogError, Source
from overfit_lab.importing.table import Format, Table, table_of

EPOCH = re.compile(r"Train Epoch: (\d+) \[\d+/(\d+) ")
ENDS = re.compile(
    r"(Training|Test): Average (Adv )?loss: ([-\d.einfa]+), (?:Robust )?Accuracy: (\d+)/(\d+) \(", re.IGNORECASE
)


def recognises(source: Source) -> bool:
    """Text with a line of an epoch's end."""
    return source.is_text and any(ENDS.search(line) for line in source.lines)


def read(source: Source) -> list[Table]:
    """What the loops of TRADES print (yaodongyu/TRADES): "Train Epoch", then means over training and test.

    Accuracies are shares of counts, so that the sizes are known; those under attack come from the lines "Average Adv
    loss". Losses of single batches are passed over. Epochs are counted from 1.
    """
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    sizes: dict[str, int] = {}
    epoch: int | None = None
    for i, line in enumerate(source.lines, start=1):
        if batch := EPOCH.search(line):
            epoch = int(batch[1])
            continue
        end = ENDS.search(line)
        if end is None:
            continue
        split = "train" if end[1].lower() == "training" else "test"
        part = "robust_" if end[2] else ""
        n_right, n = int(end[4]), int(end[5])
        if not n or n_right > n:
            raise LogError(f"{source}, line {i}: {n_right}/{n} is no share of samples")
        if epoch is None:
            epoch = 1
        elif rows and rows[-1]["epoch"] == epoch and f"{split}_{part}acc" in rows[-1]:
            epoch += 1  # the line of the epoch's beginning is not there
        if not rows or rows[-1]["epoch"] != epoch:
            rows.append({"epoch": epoch})
            lines.append(i)
        rows[-1] |= {f"{split}_{part}loss": end[3], f"{split}_{part}acc": n_right / n}
        sizes[split] = n
    return [table_of(source, rows, lines, numbering="one", percent=False, sizes=sizes)]


REGISTER = {"trades": Format(recognises, read)}
