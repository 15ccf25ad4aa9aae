"""Write the tables of foreign things into docs/foreign.md: what works at first try, by which option, or is refused how.

`python docs/draw_foreign.py` writes them from the cases of tests/foreign, which `make test` holds; with --check it
writes nothing and says whether they are there.
"""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
PAGE = DOCS / "foreign.md"
sys.path.insert(0, str(DOCS.parent / "tests"))

from foreign.foreign_page import page_with  # noqa: E402


def main(argv: list[str]) -> int:
    """Write the tables, or with ``--check`` compare them."""
    before = PAGE.read_text(encoding="utf-8")
    after = page_with(before)
    if "--check" in argv:
        if after != before:
            print(
                f"{PAGE.name}: the tables are not those of the cases; run python docs/draw_foreign.py", file=sys.stderr
            )
        return int(after != before)
    PAGE.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
