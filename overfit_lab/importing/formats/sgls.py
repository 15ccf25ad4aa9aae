"""What the loop of SGLS prints."""

from __future__ import annotations

import re
from typing import Any

from overfit_lab.importing.formats.rice import settings_in
from overfit_lab.importing.source import LogError, Source
from overfit_lab.importing.table import Format, Table, table_of

BATCH = re.compile(
    r"Epoch: \[(\d+)\]\[(\d+)/(\d+)\].*?LR ([\d.e-]+).*?Loss [-\d.einfa]+ \(([-\d.einfa]+)\)"
    r".*?Prec@1 [\d.]+ \(([\d.]+)\)"
)
TEST = re.compile(r"sa test:\s*([\d.]+),?\s*,?\s*ra test:\s*([\d.]+)")


def recognises(source: Source) -> bool:
    """Text with a line of test accuracies."""
    return source.is_text and any(TEST.search(line) for line in source.lines)


def read(source: Source) -> list[Table]:
    """What the loop of SGLS prints (devicerxx/SGLS, SGLR's public code): batches, and "sa test" and "ra test" an epoch.

    The means over an epoch stand on its last batch's line: the loss that is trained on, and accuracy on what is trained
    on, adversarial images unless the loss is ``ce``. Accuracies are percentages, epochs are counted from 1.
    """
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    settings: dict[str, Any] = {}
    begun: dict[str, Any] = {}
    for i, line in enumerate(source.lines, start=1):
        if line.startswith("Namespace("):
            settings |= settings_in(line)
        elif batch := BATCH.search(line):
            epoch, step, steps, rate, loss, accuracy = batch.groups()
            begun = {"epoch": int(epoch), "lr": rate}
            if step == steps:
                begun |= {"loss": loss, "train": accuracy}
        elif test := TEST.search(line):
            epoch_of = {"epoch": rows[-1]["epoch"] + 1 if rows else 1}
            rows.append({**epoch_of, **begun, "sa test": test[1], "ra test": test[2]})
            lines.append(i)
            begun = {}
    if not rows:
        raise LogError(f"{source}: has no line 'sa test: ..., ra test: ...'")
    train = "train_acc" if settings.get("loss") == "ce" else "train_robust_acc"
    fields = {"train": train, "sa test": "test_acc", "ra test": "test_robust_acc"}
    return [table_of(source, rows, lines, fields=fields, numbering="one", percent=True, settings=settings)]


REGISTER = {"sgls": Format(recognises, read)}
