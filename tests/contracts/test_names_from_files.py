"""A name that comes from a folder, a file or a record does nothing, wherever it goes."""

import ast
import csv
import io
import json
import os
import re
from pathlib import Path

import pytest

from hostile import EVERYTHING, FORMULAS, KINDS, LATEX, folder_name, hostile_run
from overfit_lab.cli.main import run as command
from overfit_lab.config.catalog import FIGURES, TABLES
from overfit_lab.errors import OverfitLabError, RunFolderError
from overfit_lab.files import escape
from overfit_lab.records.reader import Run, find_runs
from overfit_lab.views.report import drawings
from overfit_lab.views.tables.options import TableOptions
from overfit_lab.views.tables.writing import FORMATS as WRITERS

pytestmark = pytest.mark.filterwarnings("ignore:constrained_layout not applied")  # names of 90 letters
PACKAGE = Path(__file__).parents[2] / "overfit_lab"
FORMATS = ("table", "markdown", "latex", "csv", "json")
PICKED = ("terminal", "rich", "latex", "markdown", "html", "csv")


def is_safe(text):
    return all(c.isprintable() or c == "\n" for c in text)


def check_latex(text):
    """Every group is closed, and no command stands that is not the table's."""
    body = re.sub(r"\$\^\{[a-z]+\}\$", "", text.partition("\n")[2])
    assert not re.search(r"(?<!\\)[%#~^]", body)
    bare = re.sub(r"\\[{}%_&#$]", "", body)
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert bare.count("$") % 2 == 0
    ours = {"begin", "end", "toprule", "midrule", "bottomrule", "multicolumn", "emph", "caption", "centering", "label"}
    ours |= {"cmidrule", "par", "smallskip", "footnotesize", "raggedright", "texttt", "pm"}
    assert set(re.findall(r"\\([A-Za-z]+)", bare)) <= ours | {f"text{name}" for name in TYPESET}
    declared = len(re.search(r"\\begin\{tabular\}\{([lr]+)\}", body)[1])
    for line in body.split(r"\toprule")[1].split(r"\bottomrule")[0].splitlines():
        if line.endswith(r"\\"):
            assert not line.lstrip().startswith(("[", "*"))
            spans = [int(n) for n in re.findall(r"\\multicolumn\{(\d+)\}", line)]
            assert len(re.findall(r"(?<!\\)&", line)) + 1 - len(spans) + sum(spans) == declared, line


TYPESET = ("backslash", "asciicircum", "asciitilde", "less", "greater", "bar", "asciigrave")


def check_markdown(text):
    """Rows have as many cells as the head, and no markup stands that is not ours."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines}) <= 1
    without = re.sub(r"<sup>[a-z]+</sup>", "", re.sub(r"(?<![\\`])(`+)(?!`).+?(?<!`)\1(?!`)", "", text))
    without = re.sub(r"\\[\\`*_\[\]<>|~$&#@:.+=-]", "", without)
    assert not re.search(r"[<>\[`]|https?://", without), without


def check_csv(text):
    rows = list(csv.reader(io.StringIO(text)))
    assert len({len(row) for row in rows}) == 1
    assert len(rows) == len(text.splitlines())
    for cell in (cell for row in rows for cell in row):
        assert not cell.lstrip().startswith(("=", "+", "-", "@")) or escape.NUMBER.fullmatch(cell), cell


CHECKS = {"latex": check_latex, "markdown": check_markdown, "csv": check_csv, "json": json.loads}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("hostile")
    for seed, text in enumerate((EVERYTHING, *FORMULAS[:2], LATEX)):
        hostile_run(made, text, seed, monitored=seed == 3)
    return made


@pytest.fixture
def say(capfd):
    """Run a command; what it printed on both streams, which holds no control character."""

    def called(*arguments):
        status = command([*map(str, arguments)])
        out, err = capfd.readouterr()
        assert is_safe(out), repr(out)
        assert is_safe(err), repr(err)
        assert "unexpected" not in err, err
        assert status in (0, 2)
        if status == 2:
            assert len(err.strip().splitlines()) == 1
        return status, out

    return called


@pytest.mark.parametrize("style", FORMATS)
def test_comparisons(folder, say, tmp_path, style):
    status, text = say("compare", folder, "--format", style)
    assert status == 0
    CHECKS.get(style, len)(text)
    out = tmp_path / "table"
    assert say("table", folder, "--kind", "compare", "--format", style, "--out", out)[0] == 0
    assert is_safe(out.read_text())
    CHECKS.get(style, len)(out.read_text())


@pytest.mark.parametrize("kind", sorted(set(TABLES) - {"compare"}))
def test_tables(folder, kind):
    try:
        table = TABLES[kind](find_runs([folder]), TableOptions())
    except OverfitLabError:
        assert kind in ("constants", "label-noise", "transfer")
        return
    for style in FORMATS:
        text = WRITERS[style](table)
        assert is_safe(text)
        CHECKS.get(style, len)(text)


def test_names_of_runs_are_shown_in_every_format(tmp_path, say):
    """Nothing of a name is lost: CSV and JSON give it back, the others show it."""
    text = "noise30% a_b | `c` {d} <e> [f] $g$ &h ~i ^j #k \\l"
    hostile_run(tmp_path, text)
    name = f"{folder_name(text)}-seed0"
    for style, shown in (
        ("table", name),
        ("csv", name),
        ("latex", escape.for_latex(name)),
        ("markdown", escape.for_markdown(name)),
    ):
        assert shown in say("compare", tmp_path, "--format", style)[1]
    assert json.loads(say("compare", tmp_path, "--format", "json")[1])[0]["run"] == name


def test_json_gives_back_what_no_terminal_shows(folder, say):
    rows = json.loads(say("compare", folder, "--format", "json")[1])
    assert {row["run"] for row in rows} == {run.name for run in map(Run.open, folder.iterdir())}
    subjects = json.loads(say("diagnose", folder, "--format", "json")[1])["subjects"]
    assert {run["name"] for subject in subjects for run in subject["runs"]} == {row["run"] for row in rows}


@pytest.mark.parametrize("style", ["text", "markdown", "json"])
def test_diagnosis(folder, say, style):
    status, text = say("diagnose", folder, "--format", style)
    assert status == 0
    CHECKS.get(style, len)(text)


@pytest.mark.parametrize("suffix", [".csv", ".md"])
def test_a_sweep_of_hostile_names(tmp_path, say, suffix):
    text = EVERYTHING.replace("\ud83d", "")
    config = {"name": "cell", "epochs": 2, "data": {"name": "digits"}, "model": {"name": "mlp", text: text}}
    cell = {"name": text, "settings": {text: text, "labels.r": -0.3}, "seed": 0, "config": config}
    spec = {"name": "sweep", "base": "digits-hard", "grid": {text: [text], "labels.r": [-0.3]}, "log": [text]}
    cells = {"cell-1a2b3c4d": cell, "cell-5e6f7a8b": {**cell, "seed": 1}}
    (tmp_path / "sweep.json").write_text(json.dumps({"format": 1, "sweep": spec, "base": config, "cells": cells}))
    run = hostile_run(tmp_path, "cell").folder.rename(tmp_path / "cell-1a2b3c4d")
    (run / "run.json").write_text(json.dumps({"status": text, "failure": text, "host": text}))
    for words in (("status",), ("collect",), ("collect", "--out", tmp_path / f"table{suffix}")):
        assert say("sweep", words[0], tmp_path, *words[1:])[0] == 0
    assert json.loads(say("sweep", "status", tmp_path, "--json")[1])[0]["name"] == text
    written = (tmp_path / f"table{suffix}").read_text()
    assert is_safe(written)
    CHECKS["csv" if suffix == ".csv" else "markdown"](written)
    for name in ("../x", "/x", "..", "a\x1b"):
        damaged = {"format": 1, "sweep": spec, "base": config, "cells": {name: cell}}
        (tmp_path / "sweep.json").write_text(json.dumps(damaged))
        assert say("sweep", "status", tmp_path)[0] == 2
        assert say("sweep", "resume", tmp_path)[0] == 2


def test_names_that_are_no_text(tmp_path, say):
    """The bytes of a folder's name need not be UTF-8."""
    folder = os.fsencode(tmp_path) + b"/x\xff\xfe"
    hostile_run(tmp_path, "a").folder.rename(os.fsdecode(folder))
    for style in FORMATS:
        assert say("compare", tmp_path, "--format", style)[0] == 0
    for words in (("diagnose",), ("watch", "--once"), ("table", "--kind", "methods")):
        assert say(words[0], tmp_path, *words[1:])[0] == 0
    assert say("figure", "overview", tmp_path, "--out", tmp_path / "a.png")[0] == 0


def _refuse(runs):
    """A figure that is never drawn."""
    raise RunFolderError(f"no such thing in {runs[0].name}")


PICTURES = dict.fromkeys(FIGURES, _refuse)
QUICK = ("fig5", "masking", "methods", "overview", "onset")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in sorted(FIGURES)]
)
def test_figures(folder, say, tmp_path, name):
    status, _ = say("figure", name, *folder.iterdir(), "--out", tmp_path / "figure.svg")
    if status == 0:
        text = (tmp_path / "figure.svg").read_text()
        assert is_safe(text.replace("\xa0", ""))


def test_other_commands(folder, say, tmp_path):
    first = next(iter(sorted(folder.iterdir())))
    assert say("watch", folder, "--once")[0] == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawings, "FIGURES", PICTURES)  # they have tests of their own
        assert say("report", folder, "--out", tmp_path / "report.html")[0] == 0
    for name in ("probe", "evaluate", "check", "config", "cost"):
        say(name, first)
    say("train", first / "config.yaml", "--out", tmp_path / "again")
    for words in (("compare",), ("list",), ("figure",), ("watch",), ("sweep", "status"), ("train",), ("figure", "x")):
        assert say(*words, EVERYTHING.replace("\ud83d", ""))[0] == 2


def test_the_screen_shows_names_as_they_are(folder):
    from overfit_lab.cli.console import LiteralConsole, new_table
    from overfit_lab.cli.jobs import words

    for text in KINDS:
        drawn = io.StringIO()
        console = LiteralConsole(file=drawn, force_terminal=True, width=2000, color_system=None)
        table = new_table(text.replace("\ud83d", ""))
        table.add_row(text)
        console.print(table)
        console.print(text)
        shown = re.sub(r"\x1b\[[0-9;]*m", "", drawn.getvalue())
        assert is_safe(shown), repr(shown)
        assert escape.for_terminal(text) in shown
    assert words("{task.description}").markup is False


SWEEPS = ("../../escaped", "..", ".hidden", "a/b", "a\x1b[2J", "\u202ea", "/tmp/escaped", "a\nb", "x" * 300, "", "-x")


@pytest.mark.parametrize("name", SWEEPS)
def test_no_sweep_writes_outside_its_folder(say, tmp_path, monkeypatch, name):
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    spec = {"name": name, "base": "digits-hard", "set": {"epochs": 1}, "seeds": 1}
    (inside / "sweep.yaml").write_text(json.dumps(spec))
    before = set(tmp_path.rglob("*"))
    assert say("sweep", "run", "sweep.yaml")[0] == 2
    assert say("sweep", "run", "sweep.yaml", "--dry-run")[0] == 2
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", [name for name in SWEEPS if name])
def test_no_run_writes_outside_its_folder(say, tmp_path, monkeypatch, name):
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    (inside / "run.yaml").write_text(json.dumps({"name": name, "epochs": 1, "data": {"name": "digits"}}))
    before = set(tmp_path.rglob("*"))
    assert say("train", "run.yaml")[0] == 2
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("text", KINDS)
def test_a_log_of_hostile_names_is_imported_into_its_folder(say, tmp_path, text):
    rows = [["run", "epoch", "test robust accuracy", text]]
    rows += [[f"{text}{run}", epoch, 0.3, 0.1] for run in ("", "/../../x") for epoch in range(1, 13)]
    with open(tmp_path / "log.csv", "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        csv.writer(file).writerows([[str(cell).replace("\ud83d", "") for cell in row] for row in rows])
    out = tmp_path / "out"
    before = set(tmp_path.iterdir())
    say("import", tmp_path / "log.csv", "--out", out, "--run-column", "run")
    assert set(tmp_path.iterdir()) <= {*before, out}
    if out.exists():
        assert all(re.fullmatch(r"[A-Za-z0-9][\w.-]*", path.name) for path in out.iterdir())
        say("compare", out)


@pytest.mark.parametrize("text", ["../x", "..", ".x", "/etc/passwd", "a\0b", "-rf", "", "x" * 5000, "\u202e", "con/"])
def test_a_file_name_is_one(text):
    name = escape.for_file(text)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name)
    assert len(name) <= 110


def test_long_names_stay_apart():
    assert escape.for_file("x" * 300 + "a") != escape.for_file("x" * 300 + "b")


@pytest.mark.parametrize("text", KINDS)
def test_escaping_for_each_place(text):
    shown = escape.for_terminal(text)
    assert is_safe(shown)
    assert escape.for_terminal(shown) == shown
    assert re.sub(r"\\(x|u|U|r|n|t)[0-9a-f]*", "", shown) != "" or text
    assert "<" not in escape.for_html(text)
    check_markdown(f"| {escape.for_markdown(text)} |\n|---|\n")
    check_markdown(f"{escape.markdown_sentence(text)} {escape.as_markdown_code(text)}\n")
    check_latex(
        f"\n\\begin{{tabular}}{{l}}\\toprule\n{escape.for_latex(text)} \\\\\n{escape.latex_sentence(text)} \\\\\n"
        "\\bottomrule\\end{tabular}"
    )
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerow([escape.for_csv(text), escape.for_csv(-0.3), escape.for_csv("-0.3")])
    check_csv(file.getvalue())
    name, *numbers = next(csv.reader(io.StringIO(file.getvalue())))
    assert name.removeprefix("'" if escape.FORMULA.match(text) else "") == shown
    assert numbers == ["-0.3", "-0.3"]
    written = escape.as_json({text: [text]}, None)
    assert is_safe(written)
    assert json.loads(written) == {text: [text]}


PRINTERS = {"files/terminal.py", "cli/watch.py"}
"""Where lines are printed; watch rings a bell."""


def test_one_door_to_the_terminal():
    """Nothing is printed, and no console or figure is made, but where names are escaped."""
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            if name not in PRINTERS:
                assert called not in ("print", "typer.echo", "click.echo", "typer.secho"), f"{name}:{node.lineno}"
                assert not re.fullmatch(r"sys\.(stdout|stderr)\.write", called), f"{name}:{node.lineno}"
            if name != "cli/console.py":
                assert called != "Console", f"{name}:{node.lineno}"
            assert called not in ("Figure", "plt.figure", "plt.subplots"), f"{name}:{node.lineno}"
            assert called != "Text.from_markup", f"{name}:{node.lineno}"
            if called == "TextColumn" and not any(word.arg == "markup" for word in node.keywords):
                assert isinstance(node.args[0], ast.Constant), f"{name}:{node.lineno}"
