"""The table of docs/reliability.md that says what was hit by which faults, and how it ended."""

import json
from collections import Counter
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
COUNTS, PAGE = DOCS / "faults.json", DOCS / "reliability.md"
BEGIN, END = "<!-- from faults.json -->", "<!-- to here, from faults.json -->"
GROUPS = {
    "killed": ("kill",),
    "write torn": ("tear",),
    "power lost": ("power", "power-names"),
    "disk full": ("ENOSPC", "EDQUOT"),
    "disk fails": ("EIO",),
    "refused": ("EROFS", "EACCES"),
    "too many files": ("EMFILE",),
}


def table(counts):
    """Markdown: a row a command, a column a kind of fault; tries, and of how many operations where not of all."""
    rows = [["command", *GROUPS, "something wrong"], ["---"] * (len(GROUPS) + 2)]
    names = list(dict.fromkeys(row["scenario"] for row in counts["rows"]))
    total = Counter()
    for name in names:
        mine = [row for row in counts["rows"] if row["scenario"] == name]
        cells = []
        for head, kinds in GROUPS.items():
            tried, n = (sum(row[key] for row in mine if row["fault"] in kinds) for key in ("tried", "operations"))
            total[head] += tried
            cells.append(str(tried) if tried == n else f"{tried} of {n}")
        wrong = sum(row["ends"].get("wrong", 0) for row in mine)
        total["wrong"] += wrong
        rows.append([f"`{name}`", *cells, str(wrong)])
    rows.append(["all", *(str(total[head]) for head in GROUPS), str(total["wrong"])])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def page_with(text):
    """The page with the table of the counts in the place of the one that it has."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{table(json.loads(COUNTS.read_text()))}\n{END}{after}"
