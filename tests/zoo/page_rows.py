"""The table of what works on which network, from the outcomes themselves."""

import re
import warnings

from zoo.networks import BFLOAT16, ZOO
from zoo.outcomes import cells_of

COLUMNS = {
    "gradient-norm": ("gradient-norm",),
    "iiw": ("iiw",),
    "hessian": ("hessian",),
    "logits": ("calibration", "confidence", "memorisation"),
    "features": ("features",),
    "logit-geometry": ("logit-geometry",),
}
"""Probes that share a column, by its heading."""
BEGIN, END = "<!-- zoo: begin -->", "<!-- zoo: end -->"


def reason_of(cell):
    """Why it is refused, without the probe's name and the remedy, which is to leave it out."""
    text = re.sub(r"^[\w-]+: (cannot be measured on this model: )?", "", cell.detail.strip())
    return re.sub(r"; leave [\w-]+ out of probes$", "", text)


def entry(cells, network, notes):
    """One entry: exact, and how, or refused, with the number of the reason."""
    cells = [cell for cell in cells if not (cell.outcome == "refused" and "piecewise linear" in cell.detail)]
    if not cells:
        return ""
    outcomes = {cell.outcome for cell in cells}
    if not outcomes <= {"equal", "refused"}:
        return " and ".join(sorted(outcomes))
    reasons = dict.fromkeys(reason_of(cell) for cell in cells if cell.outcome == "refused")
    refused = "refused " + ", ".join(f"[{notes.setdefault(reason, len(notes) + 1)}]" for reason in reasons)
    if outcomes == {"refused"}:
        return refused
    how = sorted({via for cell in cells for via in cell.via})
    words = "to bfloat16" if network.tolerance == BFLOAT16 else "exact"
    words += f" ({', '.join(how)})" if how else ""
    return f"{words}; in part {refused}" if reasons else words


def hessian_entry(cells, network, notes):
    """As :func:`entry`; where the exact trace is refused for a curved network, that it is estimated."""
    text = entry(cells, network, notes)
    curved = any(cell.outcome == "refused" and "piecewise linear" in cell.detail for cell in cells)
    return text.replace("exact", "estimated", 1) if curved else text


def row(name, notes):
    network, cells = ZOO[name], cells_of(ZOO[name])
    texts = [f"`{name}`", network.describes]
    for heading, probes in COLUMNS.items():
        of = [cell for cell in cells if cell.probe in probes]
        texts.append((hessian_entry if heading == "hessian" else entry)(of, network, notes))
    return "| " + " | ".join(texts) + " |"


def table(names=tuple(ZOO)):
    """The lines of the table and of its notes."""
    notes: dict[str, int] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = [row(name, notes) for name in names]
    head = ["", "network", *COLUMNS]
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |", *rows, ""]
    return lines + [f"{number}. {reason}" for reason, number in notes.items()]


def page_with(lines, text):
    """The page with the table between its marks."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{rest.split(END)[1]}"
