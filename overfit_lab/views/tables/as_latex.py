"""Tables as LaTeX with booktabs."""

from __future__ import annotations

from overfit_lab.files.escape import for_latex, latex_sentence
from overfit_lab.views.tables.as_text import MISSING, cell_text, headings, seeds_text
from overfit_lab.views.tables.table import Cell, Column, Row, Table


def as_latex(table: Table) -> str:
    """A floating table for a document that loads ``booktabs``: groups by multicolumn and cmidrule, notes below.

    A table without a caption does not float.
    """
    n = len(headings(table))
    align = ["l", *("r" if table.wide is False else ""), *("l" if c.digits is None else "r" for c in table.columns)]
    lines = [rf"\begin{{tabular}}{{{''.join(align)}}}", r"\toprule", *_head(table), r"\midrule"]
    sections = table.sections()
    for i, (section, rows) in enumerate(sections):
        if section and len(sections) > 1:
            lines += [r"\midrule"] if i else []
            lines.append(rf"\multicolumn{{{n}}}{{l}}{{\emph{{{for_latex(section)}}}}} \\")
        lines += [_row(row, table) for row in rows]
    lines += [r"\bottomrule", r"\end{tabular}"]
    if table.caption:
        caption = rf"\caption{{{latex_sentence(' '.join(table.caption))}}}"
        head = [r"\begin{table}", r"\centering", caption, rf"\label{{tab:{table.kind}}}"]
        lines = [*head, *lines, *_notes(table), r"\end{table}"]
    return "\n".join([r"% needs \usepackage{booktabs}", *lines]) + "\n"


def _head(table: Table) -> list[str]:
    cells, rules, first = ["", ""], [], 3
    for name, span in table.groups():
        cells.append(rf"\multicolumn{{{span}}}{{c}}{{{for_latex(name)}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{first + span - 1}}}")
        first += span
    groups = [" & ".join(cells) + r" \\", " ".join(rules)] if any(name for name, _ in table.groups()) else []
    return [*groups, " & ".join(map(for_latex, headings(table))) + r" \\"]


def _row(row: Row, table: Table) -> str:
    pairs = zip(row.cells, table.columns, strict=True)
    cells = [
        for_latex(row.label) + _raised(row.mark),
        *([] if table.wide else [for_latex(seeds_text(row))]),
        *(_cell(*pair) for pair in pairs),
    ]
    return " & ".join(cells) + r" \\"


def _cell(cell: Cell, column: Column) -> str:
    text = cell_text(cell, column)
    if text == MISSING:
        return "--"
    minus = "$-$" if text.startswith("-") else ""
    return minus + for_latex(text.removeprefix("-")) + _raised(cell.mark)


def _raised(mark: str) -> str:
    return rf"$^{{{mark}}}$" if mark else ""


def _notes(table: Table) -> list[str]:
    notes = [_raised(letter) + latex_sentence(text) for letter, text in table.footnotes]
    notes += [latex_sentence(text) for text in table.notes]
    return [r"\par\smallskip", r"{\footnotesize\raggedright", *(rf"{note}\par" for note in notes), "}"] if notes else []
