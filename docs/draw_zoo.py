"""Write the table of the zoo into docs/monitor.md: which probe works on which network, how, and why not.

`python docs/draw_zoo.py` measures every probe on every network of tests/zoo, about two minutes; with --check it writes
nothing and says whether the table is what is measured.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

DOCS = Path(__file__).resolve().parent
PAGE = DOCS / "monitor.md"
sys.path.insert(0, str(DOCS.parent / "tests"))

from zoo.page_rows import page_with, table  # noqa: E402


def main(argv: list[str]) -> int:
    """Write the table, or with ``--check`` compare it."""
    torch.set_num_threads(1)
    before = PAGE.read_text()
    after = page_with(table(), before)
    if "--check" in argv:
        if after != before:
            print(f"{PAGE.name}: the table is not what is measured; run python docs/draw_zoo.py", file=sys.stderr)
        return int(after != before)
    PAGE.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
