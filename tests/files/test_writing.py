"""Files are written complete or not at all, whoever writes them, and one module alone knows how."""

from __future__ import annotations

import ast
import errno
import os
import resource
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

import overfit_lab
from overfit_lab.data import cache
from overfit_lab.data.parquet import ParquetImages
from overfit_lab.errors import OverfitLabError
from overfit_lab.files import writing as files
from overfit_lab.files.arrays import write_arrays
from overfit_lab.files.columns import Column, Form, write_columns
from overfit_lab.files.tensorfile import write_tensors
from overfit_lab.records.writer import RunWriter
from overfit_lab.sweeps import collect
from overfit_lab.sweeps.beat import Beat, write_beat
from overfit_lab.views.figures import style

OWNERS = ("files/disk.py", "files/writing.py")
PACKAGE = Path(overfit_lab.__file__).parent
BIG = 20_000
"""Bytes of content, more than the limit that the tests set."""


def picture():
    """A figure whose file is large in every format."""
    figure = Figure()
    figure.add_subplot().plot(np.random.default_rng(0).random(200))
    return figure


def copy_rows(path):
    """The flat copy of a Parquet file's images, whose place is the cache's."""
    rows = ParquetImages([], np.zeros((0, 3), dtype=np.int64))
    rows._all = lambda: iter([os.urandom(BIG)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OVERFIT_LAB_CACHE", str(path.parent))
        patch.setattr(cache, "key_of", lambda *_: path.stem)
        rows.in_any_order()


NOISE = np.random.default_rng(0).random(BIG)
WRITERS = {
    "files/writing.py:write_text": ("a.txt", lambda path: files.write_text("x" * BIG, path)),
    "files/writing.py:write_bytes": ("a.json", lambda path: files.write_bytes(path, b"x" * BIG)),
    "files/arrays.py:write_arrays": ("a.npz", lambda path: write_arrays(path, {"a": NOISE})),
    "files/columns.py:_write": (
        "a.columns",
        lambda path: write_columns(path, Form(BIG, (Column("a", "<f4"),), {}), 1, {"a": NOISE.astype("<f4")}),
    ),
    "data/cache.py:write_arrays": ("a.npz", lambda path: cache.write_arrays(path, {"a": NOISE})),
    "data/parquet.py:in_any_order": ("a.bytes", copy_rows),
    "files/tensorfile.py:write_tensors": ("a.st", lambda path: write_tensors(path, {"a": torch.zeros(BIG)}, {})),
    "views/figures/style.py:save": ("a.png", lambda path: style.save(picture(), path)),
    "sweeps/beat.py:write_beat": ("a.json", lambda path: write_beat(path, Beat("t", "running", text="x" * BIG))),
    "sweeps/collect.py:write_table": (
        "a.parquet",
        lambda path: collect.write_table(pd.DataFrame({"a": NOISE}), path),
    ),
}
NAMES = {
    **WRITERS,
    "pdf": ("a.pdf", WRITERS["views/figures/style.py:save"][1]),
    "svg": ("a.svg", WRITERS["views/figures/style.py:save"][1]),
    "csv": ("a.csv", WRITERS["sweeps/collect.py:write_table"][1]),
    "markdown": ("a.md", WRITERS["sweeps/collect.py:write_table"][1]),
}


@pytest.fixture
def small_disk():
    """No file may grow beyond 2,000 bytes, as on a disk that fills up in the middle of a write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", NAMES)
def test_a_write_that_fails_midway_leaves_the_old_file_and_nothing_else(tmp_path, name, small_disk):
    file, write = NAMES[name]
    path = tmp_path / file
    path.write_bytes(b"old")
    with pytest.raises((OSError, OverfitLabError), match=r"[Ff]ile too large"):
        write(path)
    assert path.read_bytes() == b"old"
    assert [part.name for part in tmp_path.iterdir()] == [file]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_cannot_take_its_place_leaves_the_old_one_and_nothing_else(tmp_path, name, monkeypatch):
    file, write = NAMES[name]
    path = tmp_path / file
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises((OSError, OverfitLabError), match="No space left"):
        write(path)
    assert path.read_bytes() == b"old"
    assert [part.name for part in tmp_path.iterdir()] == [file]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_replaced_keeps_its_permissions_and_a_new_one_has_the_usual(tmp_path, name):
    file, write = NAMES[name]
    path, usual = tmp_path / file, tmp_path / "usual"
    usual.touch()
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)
    path.chmod(0o600)
    (tmp_path / f".{file}.partial").touch(0o400)  # what a killed process left
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("shared", [False, True])
def test_an_error_or_an_interruption_of_what_writes_leaves_the_old_file(tmp_path, shared):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def interrupted(file):
        file.write(b"new")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), files.replacing(path, shared=shared) as file:
        interrupted(file)
    assert path.read_bytes() == b"old"
    assert [part.name for part in tmp_path.iterdir()] == ["a"]


def test_what_is_durable_is_on_the_disk_before_it_takes_its_name_and_the_name_after(tmp_path, monkeypatch):
    calls = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        files.os, "fsync", lambda handle: (calls.append(stat.S_IFMT(os.fstat(handle).st_mode)), sync(handle))
    )
    monkeypatch.setattr(files.os, "replace", lambda a, b: (calls.append("replace"), replace(a, b)))
    files.write_bytes(tmp_path / "a", b"new")
    assert calls == [stat.S_IFREG, "replace", stat.S_IFDIR]
    del calls[:]
    files.write_text("new", tmp_path / "b")
    assert calls == ["replace"]


def test_a_run_folder_that_cannot_be_completed_is_not_there(tmp_path, small_disk):
    with pytest.raises(OverfitLabError, match=r"cannot write a run folder there \(File too large\)"):
        RunWriter.create(tmp_path / "run", "x" * BIG, {})
    assert list(tmp_path.iterdir()) == []


def calls_of(path):
    """(function around it, call) for every call in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            yield from ((function.name, call) for call in ast.walk(function) if isinstance(call, ast.Call))


def name_of(call):
    return call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)


def writes_by_itself(call):
    """Whether a call replaces or overwrites a file that it names."""
    name, is_method = name_of(call), isinstance(call.func, ast.Attribute)
    if name in ("NamedTemporaryFile", "mkstemp", "renames"):
        return True
    if name in ("replace", "rename") and is_method:  # of a path, or of os; that of a text has two arguments
        of_os = ast.unparse(call.func).startswith("os.")
        return of_os or (len(call.args) == 1 and not call.keywords and ast.unparse(call.func) != "layout.rename")
    if name in ("write_text", "write_bytes") and is_method:
        return True
    if name in ("to_parquet", "savefig", "savez", "savez_compressed"):
        return ast.unparse(call.args[0]) not in ("file", "buffer", "content")  # what replacing() gave, or memory
    values = [*call.args, *(keyword.value for keyword in call.keywords)]
    modes = {str(value.value).strip("bt+") for value in values if isinstance(value, ast.Constant)}
    return name == "open" and bool(modes & {"w", "x"})


def test_no_other_module_replaces_files():
    guilty = [
        f"{path.relative_to(PACKAGE)}: {ast.unparse(call)}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if str(path.relative_to(PACKAGE)) not in OWNERS
        for _, call in calls_of(path)
        if writes_by_itself(call)
    ]
    assert guilty == []


def test_every_writer_is_tried_above():
    writers = {
        f"{path.relative_to(PACKAGE)}:{function}"
        for path in PACKAGE.rglob("*.py")
        for function, call in calls_of(path)
        if name_of(call) in ("replacing", "output")
    }
    assert writers - {"files/writing.py:output"} == set(WRITERS)
