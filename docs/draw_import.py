"""Write the outputs on docs/import.md: `python docs/draw_import.py`. Each stands in the block after its command."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from overfit_lab.cli.main import run

PAGE = Path(__file__).resolve().parent / "import.md"
BLOCK = re.compile(r"```console\n\$ overfit-lab (import [^\n]*)\n(.*?)```", re.DOTALL)


def logs() -> Iterator[tuple[str, list[dict[str, object]]]]:
    """Names and rows of the example's logs: two seeds of a run whose robust accuracy falls."""
    names = ("epoch", "lr", "Train Robust Acc", "Test Acc", "Test Robust Acc")
    rows = [
        (epoch, 0.1 if epoch < 20 else 0.01, 40 + 1.2 * epoch, 80.0, 50 - 0.4 * max(0, epoch - 20))
        for epoch in range(40)
    ]
    table = [dict(zip(names, row, strict=True)) for row in rows]
    yield "theirs.csv", [{"run": f"at/seed{seed}", **row} for seed in (0, 1) for row in table]
    yield "pgd.csv", [{"step": 50 * (row["epoch"] + 1), "robust_acc": row["Test Robust Acc"]} for row in table]


def output_of(command: str) -> str:
    """What a command prints in a folder with the example's logs."""
    said = io.StringIO()
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        for name, rows in logs():
            with open(Path(folder) / name, "w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
        os.chdir(folder)
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                run(command.replace("'", "").split())
        finally:
            os.chdir(before)
    return said.getvalue()


def page() -> str:
    """The page with every output as it is now."""
    return BLOCK.sub(lambda part: f"```console\n$ overfit-lab {part[1]}\n{output_of(part[1])}```", PAGE.read_text())


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.exit(0)
