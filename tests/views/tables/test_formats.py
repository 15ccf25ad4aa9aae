"""Each format holds the table's numbers, read back by somebody else's reader or counted."""

import io
import json
import re

import pandas as pd
import pytest
from made import options, small_run

from overfit_lab.config.catalog import TABLES
from overfit_lab.files.escape import for_latex
from overfit_lab.views.tables.as_text import cell_text
from overfit_lab.views.tables.table import Cell, Column, Footnotes, Row, Table
from overfit_lab.views.tables.writing import FORMATS


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    runs = [small_run(folder / f"h{s}", s, adv=[0.4, 0.5 + 0.123456789012 * s, 0.45]) for s in (0, 1)]
    runs += [small_run(folder / "a|b_c", 0, "sglr", attack={"eps": "16/255"})]
    return TABLES["methods"](runs, options(published=True))


def test_csv_gives_every_digit_back(table):
    frame = pd.read_csv(io.StringIO(FORMATS["csv"](table)), keep_default_na=True)
    assert len(frame) == len(table.rows) * len(table.columns)
    cells = [cell for row in table.rows for cell in row.cells]
    for (_, line), cell in zip(frame.iterrows(), cells, strict=True):
        assert (cell.mean is None and pd.isna(line["mean"])) or line["mean"] == cell.mean
        assert (cell.std is None and pd.isna(line["std"])) or line["std"] == cell.std
    best = frame[(frame["row"] == "PGD-AT") & (frame["group"] == "PGD-20") & (frame["column"] == "best")].iloc[0]
    assert best["mean"] == pytest.approx(50 + 6.1728394506, rel=1e-12)
    assert best["std"] == pytest.approx(12.3456789012 / 2**0.5, rel=1e-12)
    assert best["n"] == 2
    assert set(frame["source"]) == {"measured", "published"}


def test_json_holds_the_whole_table(table):
    content = json.loads(FORMATS["json"](table))
    assert content["caption"] == list(table.caption)
    assert [[c["mean"] for c in row["cells"]] for row in content["rows"]] == [
        [cell.mean for cell in row.cells] for row in table.rows
    ]


def test_markdown_has_as_many_columns_in_every_line(table):
    lines = [line for line in FORMATS["markdown"](table).splitlines() if line.startswith("|")]
    counts = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
    assert counts == {len(table.columns) + 3}
    assert len(lines) == 2 + len(table.sections()) + len(table.rows)
    assert any("| PGD-AT | 2 |" in line and "56.2 ± 8.7" in line for line in lines)


def test_latex_is_balanced_and_has_as_many_columns_as_it_declares(table):
    text = FORMATS["latex"](table)
    declared = len(re.search(r"\\begin\{tabular\}\{([lr]+)\}", text)[1])
    assert declared == len(table.columns) + 2
    body = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
    for line in body.splitlines():
        if line.endswith(r"\\"):
            spans = [int(n) for n in re.findall(r"\\multicolumn\{(\d+)\}", line)]
            cells = len(re.findall(r"(?<!\\)&", line)) + 1
            assert cells - len(spans) + sum(spans) == declared, line
    for rule in re.findall(r"\\cmidrule\(lr\)\{(\d+)-(\d+)\}", text):
        assert 3 <= int(rule[0]) <= int(rule[1]) <= declared
    plain = re.sub(r"\\[{}%_&#$]", "", text)
    assert plain.count("{") == plain.count("}")
    assert plain.count("$") % 2 == 0
    assert text.count(r"\begin{") == text.count(r"\end{")
    without_comment = text.split("\n", 1)[1]
    assert not re.search(r"(?<!\\)%", without_comment)
    assert "±" not in text
    assert r"56.2 $\pm$ 8.7" in text
    assert "$-$10.0" in text
    assert re.search(r"(?<!\\)_", re.sub(r"\$[^$]*\$", "", text)) is None


def test_plain_text_lines_up(table):
    lines = FORMATS["table"](table).splitlines()
    rule = next(line for line in lines if set(line) == {"-", " "})
    assert all(len(line) <= len(rule) for line in lines[lines.index(rule) - 1 :][: len(table.rows)])
    assert any(line.startswith("[digits") for line in lines)


def test_escapes():
    assert for_latex("5% a_b & {x} ± – $^~\\#") == (
        r"5\% a\_b \& \{x\} $\pm$ -- \$\textasciicircum{}\textasciitilde{}\textbackslash{}\#"
    )
    cell, column = Cell(-0.04, 0.0, 3), Column("g", "c")
    assert cell_text(cell, column) == "0.0 ± 0.0"
    assert cell_text(Cell(), column) == "–"


def test_footnotes_have_one_letter_a_text_and_rows_one_cell_a_column():
    notes = Footnotes()
    assert [notes.mark(text) for text in ("x", "", "y", "x")] == ["a", "", "b", "a"]
    letters = [notes.mark(str(i)) for i in range(30)]
    assert letters[23:26] == ["z", "aa", "ab"]
    assert len(set(letters)) == 30
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        Table("k", (), "s", (Column("", "a"), Column("", "b")), (Row("r", (Cell(),)),))
