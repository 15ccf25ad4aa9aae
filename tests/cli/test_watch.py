"""`overfit-lab watch` as users meet it: one view, lines, and a real terminal."""

import io
import itertools
import os
import pty
import select
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from rich.console import Console

from overfit_lab.cli.main import run
from overfit_lab.cli.plots import columns_of, plot
from overfit_lab.cli.screen import draw
from overfit_lab.cli.watch import lines
from overfit_lab.files.escape import for_terminal
from overfit_lab.records.writer import RunWriter
from overfit_lab.views.live.runs_below import Watched
from written import N, begin, write

NASTY = "run\x1b[31m[red]x[/red]\u202e"


def drawn(views, chosen=0, *, width=100, rows=None, encoding="utf-8", colour=False):
    """What is on the screen, as text."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    console = Console(file=file, width=width, height=rows or 40, force_terminal=colour, highlight=False)
    console.print(draw(views, chosen, console, rows=rows))
    file.flush()
    return raw.getvalue().decode(encoding)


@pytest.fixture(scope="module")
def overfitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "overfitted"
    with begin(folder) as writer:
        write(writer, 1, N)
        writer.update_info(status="completed")
    return folder


@pytest.fixture(scope="module")
def views(overfitted):
    return Watched(overfitted).look()


def test_one_view_has_everything(overfitted, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert run(["watch", str(overfitted), "--once"]) == 0
    shown = capsys.readouterr().out
    for text in (
        "overfitted  completed  epoch 60/60",
        "learning rate 0.01; growth, since the first decay after epoch 20",
        "robust accuracy train",
        "best robust test accuracy",
        "points lost since",
        "Robust overfitting, seen at epoch",
        "tests at the last epoch: robust overfitting",
        "gradient norm, now 7",
    ):
        assert text in shown
    assert max(map(len, shown.splitlines())) <= 100
    assert "\x1b" not in shown


@pytest.mark.parametrize("width", [60, 80, 109, 110, 200])
@pytest.mark.parametrize("rows", [None, 24, 50])
def test_every_width_and_height_is_kept(views, width, rows):
    shown = drawn(views, width=width, rows=rows).splitlines()
    assert max(map(len, shown)) <= width
    assert max(map(len, shown)) > width - 20
    if rows == 50:
        assert len(shown) <= rows


def test_in_ascii_there_is_nothing_else(views):
    shown = drawn(views, encoding="ascii")
    assert shown.isascii()
    assert "*" in shown


def test_no_colour_where_none_is_wanted(views, monkeypatch):
    assert "\x1b[36m" in drawn(views, colour=True) or "\x1b[1;" in drawn(views, colour=True)
    monkeypatch.setenv("NO_COLOR", "1")
    colours = [f"\x1b[{code}m" for code in (31, 32, 33, 35, 36)]
    assert not any(colour in drawn(views, colour=True) for colour in colours)


def test_strangers_names_stay_text(tmp_path, capsys):
    folder = tmp_path / NASTY.replace("/", "")
    with begin(folder) as writer:
        write(writer, 1, 2)
        writer.update_info(status="[bold]completed\x07[/bold]")
    (view,) = Watched(folder).look()
    shown = drawn([view, view], colour=False)
    assert r"run\x1b[31m[red]x[red]\u202e" in shown
    assert r"[bold]completed\x07[/bold]" in shown
    assert not set("\x1b\x07\u202e") & set(shown)
    assert not set("\x1b\x07\u202e") & set("".join(lines(None, view)))
    assert for_terminal("a\nb\tc") == r"a\nb\tc"


def test_a_grid_has_a_line_a_run(tmp_path, capsys):
    for name in ("a", "b", "c"):
        with begin(tmp_path / name) as writer:
            write(writer, 1, 12)
            writer.update_info(status="failed" if name == "a" else "completed")
    assert run(["watch", str(tmp_path), "--once", "--run", "b"]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()[1:4]] == ["a", ">", "c"]
    assert "b  completed  epoch 12/60" in shown
    assert run(["watch", str(tmp_path), "--once", "--run", "d"]) == 2
    assert "unknown run 'd'" in capsys.readouterr().err


def test_of_many_runs_those_around_the_chosen_one_are_listed(views):
    from dataclasses import replace

    many = [replace(views[0], name=f"run-{i:02d}") for i in range(40)]
    shown = drawn(many, 30, rows=36)
    assert "run-30" in shown
    assert "run-00" not in shown
    assert "and 28 more" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "no such run folder"),
        (["."], "holds no run"),
        ([".", "--every", "0"], "--every 0: expected seconds"),
    ],
)
def test_bad_input_is_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["watch", *arguments]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1


def test_without_a_terminal_it_tells_lines_and_ends_with_the_run(tmp_path, capsys, monkeypatch):
    """Two epochs come between looks; then the run ends."""
    writer = begin(tmp_path / "run")
    write(writer, 1, 3)
    later = [lambda: write(writer, 4, 5), lambda: None, lambda: writer.update_info(status="interrupted")]
    monkeypatch.setattr(time, "sleep", lambda seconds: later.pop(0)())
    with writer:
        assert run(["watch", str(tmp_path / "run")]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.partition(",")[0] for line in told] == [
        "run: epoch 3/60",
        "run: running",
        "run: epoch 4/60",
        "run: epoch 5/60",
        "run: interrupted",
    ]
    assert "robust test accuracy 4" in told[0]


def test_exit_on_onset_ends_with_three_while_the_run_goes_on(tmp_path, capsys, monkeypatch):
    writer = begin(tmp_path / "run")
    epoch = iter(range(2, N + 1))
    write(writer, 1, 1)
    monkeypatch.setattr(time, "sleep", lambda seconds: write(writer, *[next(epoch)] * 2))
    with writer:
        assert run(["watch", str(tmp_path / "run"), "--exit-on-onset", "--bell"]) == 3
    told = capsys.readouterr()
    assert "run: robust overfitting, seen at epoch" in told.out
    assert told.err == "\a"
    assert next(epoch) < 45


def test_exit_on_onset_of_a_run_that_overfitted_and_of_one_that_did_not(overfitted, tmp_path):
    with begin(tmp_path / "run") as writer:
        write(writer, 1, N, overfits=False)
        writer.update_info(status="completed")
    assert run(["watch", str(overfitted), "--once", "--exit-on-onset"]) == 3
    assert run(["watch", str(tmp_path / "run"), "--once", "--exit-on-onset"]) == 0
    assert run(["watch", str(tmp_path / "run"), "--exit-on-onset"]) == 0


class Terminal:
    """The command on a terminal of its own."""

    def __init__(self, *arguments):
        self.ours, theirs = pty.openpty()
        self.shown = b""
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40", "PYTHONUTF8": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "overfit_lab", "watch", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore it
        )
        os.close(theirs)

    def wait_for(self, text, seconds=60):
        """Read until the text is there; gives what came since the last time."""
        end, come = time.monotonic() + seconds, b""
        while text.encode() not in come:
            assert time.monotonic() < end, come[-3000:]
            if select.select([self.ours], [], [], 0.1)[0]:
                try:
                    come += os.read(self.ours, 65536)
                except OSError:  # its end is closed
                    break
        self.shown += come
        assert text.encode() in come, come[-3000:]
        return come

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.ours)


@pytest.mark.slow
def test_on_a_terminal_it_is_a_screen_that_keys_and_records_change(tmp_path):
    first, second = begin(tmp_path / "first"), begin(tmp_path / "second")
    write(first, 1, 3)
    with first, second, Terminal(str(tmp_path), "--every", "0.2", "--bell") as terminal:
        terminal.wait_for("first  ")
        terminal.wait_for("epoch 3/60")
        write(first, 4, N)
        if b"\a" not in terminal.wait_for("Robust overfitting, seen at epoch"):
            terminal.wait_for("\a")
        os.write(terminal.ours, b"n")
        terminal.wait_for("epoch 0/60")
        os.write(terminal.ours, b"\x1b[A")
        terminal.wait_for("Robust overfitting")
        os.write(terminal.ours, b"q")
        terminal.wait_for("\x1b[?1049l")
        assert terminal.process.wait(30) == 0


@pytest.mark.slow
def test_ctrl_c_ends_it_without_a_traceback(tmp_path):
    with begin(tmp_path / "run") as writer, Terminal(str(tmp_path / "run")) as terminal:
        write(writer, 1, 3)
        terminal.wait_for("epoch 3/60")
        terminal.process.send_signal(2)
        terminal.wait_for("overfit-lab: interrupted")
        assert terminal.process.wait(30) == 130
        assert b"Traceback" not in terminal.shown
        assert b"\x1b[?1049l" in terminal.shown


def test_a_folder_of_a_resumed_run_is_followed_from_the_command(tmp_path, capsys, monkeypatch):
    writer = begin(tmp_path / "run")
    write(writer, 1, 5)
    writer.close()

    def resume():
        with RunWriter.reopen(tmp_path / "run") as again:
            again.keep_until(3)
            write(again, 4, 6, seconds=1.0)
            again.update_info(status="completed")

    monkeypatch.setattr(time, "sleep", lambda seconds: resume())
    assert run(["watch", str(tmp_path / "run")]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.partition(",")[0] for line in told][-2:] == ["run: epoch 6/60", "run: completed"]


@pytest.mark.parametrize("ascii_only", [False, True])
def test_a_plot_has_its_size_and_goes_where_the_curve_goes(ascii_only):
    x = np.arange(1, 41, dtype=float)
    how = {"width": 20, "height": 5, "x_range": (1, 40), "ascii_only": ascii_only}
    empty = " " if ascii_only else chr(0x2800)
    rising = plot(x, x, y_range=(1, 40), **how)
    assert [len(line) for line in rising] == [20] * 5
    where = [[i for i, c in enumerate(line) if c != empty] for line in rising]
    assert all(max(lower) <= min(upper) + 1 for upper, lower in itertools.pairwise(where))
    level = plot(x, np.ones(40), y_range=(1, 1), **how)
    assert sum(any(c != empty for c in line) for line in level) == 1
    beyond = plot(x, 100 * x, y_range=(1, 40), **how)
    assert all(c != empty for c in beyond[0][1:])
    one = plot(x[:1], x[:1], y_range=(0, 2), **how)
    assert sum(c != empty for line in one for c in line) == 1


def test_braille_dots_lie_where_the_standard_puts_them():
    corners = np.array([0.0, 1.0])
    how = {"width": 1, "height": 1, "x_range": (0, 1), "y_range": (0, 1)}
    assert plot(corners[:1], np.array([1.0]), **how) == ["\u2801"]  # dot 1, upper left
    assert plot(corners[1:], np.array([1.0]), **how) == ["\u2808"]  # dot 4, upper right
    assert plot(corners[:1], np.array([0.0]), **how) == ["\u2840"]  # dot 7, lower left
    assert plot(corners[1:], np.array([0.0]), **how) == ["\u2880"]  # dot 8, lower right


def test_marks_stand_under_the_dots():
    for epoch in range(1, 101):
        (line,) = plot(np.array([epoch]), np.array([1.0]), width=30, height=1, x_range=(1, 100), y_range=(0, 1))
        dot = next(i for i, c in enumerate(line) if c != "\u2800")
        assert columns_of(np.array([epoch]), 30, (1, 100))[0] == dot
