"""The table of docs/reliability.md that says how many cases were drawn and what they came to."""

import json
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
COUNTS, PAGE = DOCS / "fuzz.json", DOCS / "reliability.md"
BEGIN, END = "<!-- from fuzz.json -->", "<!-- to here -->"
WORDS = {"folders": "damaged folders", "configurations": "configurations"}
HEAD = (
    "drawn",
    "seed",
    "cases",
    "commands",
    "done",
    "refused in one line",
    "stopped",
    "failed as documented",
    "wrong",
    "slowest, s",
)


def table(counts):
    """Markdown of the counts."""
    rows = [HEAD, ["---"] * len(HEAD)]
    for what, entries in counts.items():
        for one in entries:
            ends = one["statuses"]
            numbers = [
                one["seed"],
                one["cases"],
                one["commands"],
                *(ends.get(status, 0) for status in ("0", "2", "130", "1")),
            ]
            rows.append([WORDS[what], *numbers, one["wrong"], one["slowest_seconds"]])
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


def page_with(text):
    """The page with the table of the counts in the place of the one that it has."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{table(json.loads(COUNTS.read_text()))}\n{END}{after}"
