"""Commands where the terminal, the environment or the streams are not what they are used to."""

import os
import pty
import signal
import subprocess
import sys
import threading

import pytest

from overfit_lab.cli.main import run
from overfit_lab.config import to_yaml
from overfit_lab.files.writing import output
from overfit_lab.records.status import status_of
from overfit_lab.training.run import train_run
from tiny import tiny_config

TRAIN = ["train", "tiny.yaml", "--out", "run", "--device", "cpu"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("surroundings") / "run"
    train_run(tiny_config(epochs=2, probes={"metrics": ["calibration"], "n": 20}), folder, device="cpu")
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "tiny.yaml").write_text(to_yaml(tiny_config(epochs=2, probes={})))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("columns", ["10", "1", "0", "-5", "abc"])
def test_terminals_of_any_width(columns, trained, tmp_path, monkeypatch, capfd):
    """``watch`` drew its curves on fewer than no columns."""
    monkeypatch.setenv("COLUMNS", columns)
    for words in (
        ["watch", str(trained), "--once"],
        ["compare", str(trained)],
        ["table", str(trained)],
        ["diagnose", str(trained)],
        ["list", "metrics"],
        ["report", str(trained), "--out", str(tmp_path / "report.html")],
    ):
        assert run(words) == 0, words
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("variable", ["TERM=dumb", "NO_COLOR=1", "TERM=", "LANG=C", "FORCE_COLOR=1"])
def test_terminals_that_can_do_less(variable, trained, monkeypatch, capfd):
    name, _, value = variable.partition("=")
    monkeypatch.setenv(name, value)
    assert run(["watch", str(trained), "--once"]) == 0
    out = capfd.readouterr().out
    assert "\x1b[" not in out or name == "FORCE_COLOR"
    assert "completed" in out


def start(words, place, **options):
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "overfit_lab", *words], cwd=place, **{"text": True, **options}
    )


@pytest.mark.slow
def test_streams_that_are_closed(place):
    """With stdin, stdout and stderr closed a run is trained all the same; what is printed is lost."""
    shell = ["sh", "-c", 'exec "$0" -W ignore -m overfit_lab "$@" <&- >&- 2>&-', sys.executable, *TRAIN]
    assert subprocess.run(shell, cwd=place, timeout=120).returncode in (0, 1)
    assert status_of(place / "run") == "completed"


@pytest.mark.slow
def test_readers_that_are_gone(place):
    """A progress line that nobody reads any more, as after ``2>&1 | head -1``, ended the run as failed."""
    process = start(TRAIN, place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=120) in (0, 1)
    assert status_of(place / "run") == "completed"


@pytest.mark.slow
def test_surroundings_that_are_not_there(place):
    """No HOME, a home and a cache that cannot be written, no folder for temporary files, LANG=C, no terminal."""
    nothing = place / "read-only"
    nothing.mkdir(mode=0o500)
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME")}
    environment |= {"LANG": "C", "LC_ALL": "C", "TMPDIR": "/does/not/exist", "MPLCONFIGDIR": str(nothing / "missing")}
    train = start(TRAIN, place, env=environment, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    _, err = train.communicate(timeout=120)
    assert train.returncode == 0, err
    draw = start(
        ["figure", "overview", "run"], place, env=environment, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    _, err = draw.communicate(timeout=120)
    assert draw.returncode == 0, err
    assert (place / "overview.png").is_file()


@pytest.mark.slow
def test_the_current_folder_is_gone(place):
    gone = place / "gone"
    gone.mkdir()
    shell = ["sh", "-c", 'rmdir ../gone; exec "$0" -W ignore -m overfit_lab list figures', sys.executable]
    done = subprocess.run(shell, cwd=gone, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "overfit-lab: the current folder is not there any more; change to another one\n"


@pytest.mark.slow
def test_a_terminal_that_is_closed(place):
    """Its processes get SIGHUP and can print nowhere; the run says ``interrupted``."""
    (place / "tiny.yaml").write_text(to_yaml(tiny_config(epochs=500, probes={}, checkpoint={"every": 0})))
    master, slave = pty.openpty()

    def take_terminal():
        os.setsid()
        import fcntl
        import termios

        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

    process = start(TRAIN, place, stdin=slave, stdout=slave, stderr=slave, preexec_fn=take_terminal)
    os.close(slave)
    seen = b""
    while b"epoch" not in seen:
        seen += os.read(master, 1000)
    os.close(master)
    assert process.wait(timeout=60) == 130
    assert status_of(place / "run") == "interrupted"


def test_two_that_write_one_file_at_once(tmp_path):
    """The temporary names of two figures into one file were the same: one was lost, or both ended raw."""
    path = tmp_path / "figure.png"
    barrier, failures = threading.Barrier(4), []

    def write(letter):
        try:
            for _ in range(20):
                with output(path) as file:
                    barrier.wait()
                    file.write(letter * 5000)
        except BaseException as error:
            failures.append(error)
            barrier.abort()

    threads = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b", b"c", b"d")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(set(path.read_bytes())) == 1
    assert path.stat().st_size == 5000
    assert [other.name for other in tmp_path.iterdir()] == ["figure.png"]
