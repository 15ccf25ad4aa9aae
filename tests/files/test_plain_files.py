"""What is no plain file is refused at once, whoever reads it: a pipe would be waited for, a device never ends."""

import errno
import os
import socket
import threading

import pytest

from overfit_lab.cli.main import run
from overfit_lab.errors import OverfitLabError
from overfit_lab.files.arrays import read_arrays
from overfit_lab.files.disk import disk
from overfit_lab.files.json_text import read_json
from overfit_lab.files.reading import read_text
from overfit_lab.files.tensorfile import read_tensors
from overfit_lab.models.weights import load_weights
from overfit_lab.records import layout
from overfit_lab.records.reader import read_records
from overfit_lab.views.live.following import Follower


def make_pipe(path):
    os.mkfifo(path)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as one:
        os.chdir(path.parent)  # a socket's path is short
        one.bind(path.name)


def make_loop(path):
    path.symlink_to(path)


def make_device(path):
    path.symlink_to("/dev/zero")


STRANGE = {
    "named pipe": make_pipe,
    "socket": make_socket,
    "folder": os.mkdir,
    "device": make_device,
    "symbolic links": make_loop,
}
READERS = {
    "json": read_json,
    "arrays": read_arrays,
    "tensors": read_tensors,
    "records": read_records,
    "weights.safetensors": load_weights,
    "weights.pt": load_weights,
    "follower": lambda path: Follower(path).look(),
    "clock": layout.clock_of,
}


def within(seconds, act):
    """Its result, or a failure where it does not end."""
    result = []
    thread = threading.Thread(target=lambda: result.append(act()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it waits"
    return result[0]


@pytest.mark.parametrize("kind", STRANGE)
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_refuses_it_by_name(tmp_path, monkeypatch, kind, reader):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / reader
    STRANGE[kind](path)

    def message():
        with pytest.raises(OverfitLabError) as caught:
            READERS[reader](path)
        return str(caught.value)

    text = within(5, message)
    assert kind in text
    assert str(path) in text
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize("mode", ["rb", "ab", "r+b"])
@pytest.mark.parametrize("kind", ["named pipe", "device", "folder"])
def test_it_is_opened_in_no_way(tmp_path, kind, mode):
    STRANGE[kind](tmp_path / "a")

    def number():
        with pytest.raises(OSError, match=f"is a {kind}, expected a file") as caught:
            disk().open(tmp_path / "a", mode)
        return caught.value.errno

    assert within(5, number) == errno.EINVAL


def test_text_that_is_none_says_the_line(tmp_path):
    (tmp_path / "a").write_bytes(b"x\ny\xff")
    with pytest.raises(OSError, match=r"is not UTF-8 text \(line 2\)"):
        read_text(tmp_path / "a", 100)


@pytest.mark.parametrize("kind", ["named pipe", "symbolic links"])
def test_a_command_says_so_in_one_line(tmp_path, kind, capsys):
    path = tmp_path / "a.yaml"
    STRANGE[kind](path)
    assert within(60, lambda: run(["config", str(path)])) == 2
    error = capsys.readouterr().err
    assert "a.yaml" in error
    assert kind in error
    assert len(error.splitlines()) == 1
