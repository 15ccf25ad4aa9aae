"""The table of everything about a few runs, as a kind among others and as the command `compare`."""

import io
import json

import pandas as pd
import pytest

from overfit_lab.cli.main import run
from overfit_lab.records.reader import find_runs
from overfit_lab.records.summary import compare
from overfit_lab.views.tables.compare import format_table
from overfit_lab.views.tables.writing import FORMATS
from run_factory import make_run


@pytest.mark.parametrize("style", FORMATS)
def test_every_format_holds_the_numbers(tmp_path, style):
    table = compare([make_run(tmp_path / f"a_b-seed{seed}", "hard", seed) for seed in (0, 1)])
    text = format_table(table, style)
    if style == "csv":
        row = pd.read_csv(io.StringIO(text)).iloc[0]
        assert row["robust_diff"] == pytest.approx(10.0)
        assert row["robust_best_std"] == pytest.approx(0.5**0.5)
    elif style == "json":
        assert json.loads(text)[0]["robust_final"] == pytest.approx(40.5)
    else:
        plus = r"$\pm$" if style == "latex" else "±"
        assert f"50.5 {plus} 0.7" in text
        assert f"10.0 {plus} 0.0" in text
    if style == "latex":
        assert r"\toprule" in text
        assert r"a\_b" in text
    if style == "markdown":
        widths = {line.count("|") for line in text.strip().splitlines()}
        assert len(widths) == 1


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    for seed in (0, 1):
        make_run(folder / f"a-seed{seed}", "hard", seed, val=True)
    make_run(folder / "b", "sglr", val=True)
    return folder


@pytest.mark.parametrize("style", FORMATS)
def test_the_command_is_the_kind(two, style, capfd):
    assert run(["compare", str(two), "--format", style]) == 0
    compared = capfd.readouterr()[0]
    assert run(["table", str(two), "--kind", "compare", "--format", style]) == 0
    assert capfd.readouterr()[0] == compared
    assert format_table(compare(find_runs([two])), style) == compared


def test_programs_get_every_digit(two):
    frame = compare(find_runs([two]))
    for row, line in zip(json.loads(format_table(frame, "json")), frame.to_dict("records"), strict=True):
        numbers = [key for key in row if isinstance(row[key], int | float)]
        assert len(numbers) > 10
        assert [row[key] for key in numbers] == [line[key] for key in numbers]


def test_a_terminal_shows_a_run_as_a_column_and_a_document_as_a_line(two):
    frame = compare(find_runs([two]))
    plain = format_table(frame).splitlines()
    assert plain[0].split() == ["run", "a", "b"]
    assert {len(line) for line in plain} == {len(plain[0])}
    lines = format_table(frame, "markdown").splitlines()
    assert [line.split(" | ")[0] for line in lines] == ["| run", "| ---", "| a", "| b"]
    latex = format_table(frame, "latex")
    assert r"\begin{table}" not in latex
    assert latex.count(" & ") == 3 * (len(lines[0].split(" | ")) - 1)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--attack", "pgd-20"], "--attack pgd-20: has no meaning for table 'compare'"),
        (["--published"], "--published: has no meaning for table 'compare', the paper has no such table"),
    ],
)
def test_options_that_say_nothing_are_refused(two, option, message, capfd):
    assert run(["table", str(two), "--kind", "compare", *option]) == 2
    assert message in capfd.readouterr()[1]


def test_the_split_that_chooses_may_be_named(two, capfd):
    chosen = {}
    for split in ("val", "test"):
        assert run(["table", str(two), "--kind", "compare", "--best-by", split, "--format", "json"]) == 0
        chosen[split] = json.loads(capfd.readouterr()[0])[0]["chosen_on"]
    assert chosen == {"val": "acc_adv on val", "test": "acc_adv on test"}
