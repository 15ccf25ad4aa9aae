"""The tables of docs/foreign.md, from the cases."""

from foreign.foreign_data import DATA
from foreign.foreign_loops import LOOPS
from foreign.foreign_weights import WEIGHTS

TABLES = {"loops": LOOPS, "weights": WEIGHTS, "data": DATA}
"""Cases by the table that they are rows of."""


def mark(name, end=""):
    return f"<!-- {name}{end} -->"


def table(name):
    """The lines of one table."""
    rows = [(case.what, case.tool, case.outcome) for case in TABLES[name]]
    lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    return "\n".join(["| what | made by | outcome |", "| --- | --- | --- |", *(f"| {line} |" for line in lines)])


def page_with(text):
    """The page with every table between its marks."""
    for name in TABLES:
        before, rest = text.split(mark(name))
        after = rest.split(mark(name, " end"))[1]
        text = f"{before}{mark(name)}\n\n{table(name)}\n\n{mark(name, ' end')}{after}"
    return text
