"""The limits stand in docs/security.md as they are in the code, each is heeded, and sweeps are counted before they are
spelled out."""

import ast
import itertools
import re
import time
from pathlib import Path

import pytest

from overfit_lab.cli.main import run
from overfit_lab.errors import ConfigError
from overfit_lab.files import limits
from overfit_lab.sweeps.axes import name_cells
from overfit_lab.sweeps.spec import parse_spec

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "overfit_lab"


def sentences():
    """Each limit with its value and the sentence below it."""
    body = ast.parse(Path(limits.__file__).read_text()).body
    for assignment, sentence in itertools.pairwise(body):
        if isinstance(assignment, ast.Assign):
            assert isinstance(sentence, ast.Expr), f"{assignment.targets[0].id} has no sentence"
            yield assignment.targets[0].id, " ".join(ast.literal_eval(sentence.value).split())


def shown(name):
    value = getattr(limits, name)
    sized = name.endswith(("_BYTES", "_FLOOR", "_HEADER", "_DIRECTORY", "_FOOTER"))
    return limits.in_bytes(value) if sized and value >= 2**10 else f"{value:,}"


def test_the_page_has_each_limit_with_its_sentence():
    rows = [f"| `{name}` | {shown(name)} | {sentence} |" for name, sentence in sentences()]
    text = (ROOT / "docs" / "security.md").read_text()
    section = text.partition("## What a file may be")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `.*", section, re.MULTILINE) == rows, "\n".join(rows)


def test_each_is_heeded_somewhere():
    text = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py") if path.name != "limits.py")
    assert [name for name, _ in sentences() if not re.search(rf"\b{name}\b", text)] == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"seeds": 10**9}, r"seeds = 1000000000: expected 10000 seeds at most"),
        ({"seeds": [0, 10**30]}, r"seeds = .*each below 2\*\*63"),
        ({"seeds": list(range(20_000))}, r"seeds = \[0, 1.*…: expected 10000 seeds at most"),
        ({"grid": {1: [2]}}, r"grid = .*expected dotted keys"),
    ],
)
def test_a_sweep_of_too_many_seeds(content, reason):
    with pytest.raises(ConfigError, match=reason) as caught:
        parse_spec({"base": "digits-hard", **content}, "file")
    assert len(str(caught.value)) < 400


def test_a_sweep_of_astronomic_size_is_counted_and_not_spelled_out():
    axes = {f"a{i}": list(range(10)) for i in range(30)}
    started = time.process_time()
    with pytest.raises(ConfigError, match=r"the axes and seeds make 3,0+.* runs; expected 10,000 at most"):
        name_cells(axes, [0, 1, 2])
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "command",
    [
        ["train", "digits-hard", "--seeds", "1000000000"],
        ["train", "digits-hard", "--grid", "labels.r=&a [1,*a]"],
        ["train", "digits-hard", *(f"--grid=labels.o{i}=0,1,2,3,4,5,6,7,8,9" for i in range(20))],
        ["config", "digits-hard", "--set", "epochs=1000000000000"],
        ["config", "digits-hard", "--set", "seed=2020-13-45"],
        ["config", "digits-hard", "--set", f"name={'[' * 100}"],
    ],
)
def test_the_command_line_refuses_at_once(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    started = time.process_time()
    status = run([*command, "--out", "out"] if command[0] == "train" else command)
    error = capsys.readouterr().err
    assert status == 2, error
    assert len(error.splitlines()) == 1
    assert time.process_time() - started < 5
    assert not list(tmp_path.iterdir())
