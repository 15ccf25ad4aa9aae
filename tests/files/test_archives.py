"""Archives that would unfold to far more than they are: refused by what their directory says, or says wrongly."""

import io
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch

from overfit_lab.data import cache
from overfit_lab.errors import RunFolderError, WeightsError
from overfit_lab.evaluation.outcome import load_outcome
from overfit_lab.files.arrays import read_arrays
from overfit_lab.models.weights import load_weights


def bomb(path, name="x.npy", size=2**28, beginning=None):
    """A small archive of one entry that unfolds to ``size`` bytes."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (size,)})
    piece = bytes(2**20)
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(name, "w", force_zip64=True) as entry,
    ):
        entry.write(header.getvalue() if beginning is None else beginning)
        for _ in range(size // len(piece)):
            entry.write(piece)
    return path


def refused(read, path, error, reason):
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(error, match=rf"{path.name}: .*{reason}") as caught:
        read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.process_time() - started < 2
    assert peak < 100e6
    assert len(str(caught.value).splitlines()) == 1


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return bomb(tmp_path_factory.mktemp("bomb") / "a.npz")


@pytest.mark.parametrize("read", [read_arrays, load_outcome])
def test_a_bomb_is_refused_before_it_unfolds(large, read):
    assert large.stat().st_size < 2e6
    refused(read, large, RunFolderError, r"would unfold from .* to 256 MiB, over 1?\d\d MiB")


def test_it_is_no_cache(large):
    assert cache.read_arrays(large) is None


def test_one_that_says_less_than_it_has_yields_no_more_than_it_says(large, tmp_path):
    content = bytearray(large.read_bytes())
    place = content.rindex(b"PK\x01\x02") + 24
    assert struct.unpack_from("<I", content, place)[0] >= 2**28
    struct.pack_into("<I", content, place, 1000)
    (tmp_path / "b.npz").write_bytes(content)
    refused(read_arrays, tmp_path / "b.npz", RunFolderError, "in 1000 bytes|damaged")


def test_an_array_says_no_more_than_its_entry_has(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    bomb(tmp_path / "a.npz", size=0, beginning=header.getvalue())
    refused(read_arrays, tmp_path / "a.npz", RunFolderError, "in 128 bytes")


@pytest.mark.parametrize("kind", ["M8[s]", "m8[s]", "c16", "V8", "f4,i4"])
def test_dates_complex_numbers_and_records_are_no_plain_arrays(tmp_path, kind):
    np.savez(tmp_path / "a.npz", x=np.zeros(3, dtype=kind))
    refused(read_arrays, tmp_path / "a.npz", RunFolderError, "more than plain arrays .*an array of")


@pytest.mark.parametrize("kind", ["?", "u1", ">i4", "f2", "f8", "S3", "U3"])
def test_truths_numbers_and_text_are_read(tmp_path, kind):
    np.savez(tmp_path / "a.npz", x=np.zeros(3, dtype=kind))
    assert read_arrays(tmp_path / "a.npz")["x"].dtype == np.dtype(kind)


HEADERS = {
    "negative": {"descr": "<f8", "fortran_order": False, "shape": (-1, 3)},
    "objects": {"descr": "|O", "fortran_order": False, "shape": (1,)},
    "no shape": {"descr": "<f8", "fortran_order": False},
    "no type": {"descr": "x", "fortran_order": False, "shape": (1,)},
}


@pytest.mark.parametrize("name", [*HEADERS, "long", "empty", "no array"])
def test_a_header_that_is_none(tmp_path, name):
    content = {"empty": b"", "no array": b"x" * 100}.get(name)
    if content is None:
        text = repr(HEADERS.get(name, "(" * 9_000)).encode()
        text += b" " * (-len(text) % 64) + b"\n"
        content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(64)
    bomb(tmp_path / "a.npz", size=0, beginning=content)
    refused(read_arrays, tmp_path / "a.npz", RunFolderError, "damaged")


def test_a_directory_of_millions_of_entries_is_not_read(tmp_path):
    path = tmp_path / "a.npz"
    size = 2**30
    with open(path, "wb") as file:  # a hole, so that it takes no room
        file.truncate(size)
        file.seek(size)
        file.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, size, 0, 0))
    refused(read_arrays, path, RunFolderError, "its directory has 1 GiB")


@pytest.mark.parametrize("name", ["archive/data.pkl", "archive/data/0"])
def test_weights_of_torch_are_looked_at_before(tmp_path, name):
    path = tmp_path / "a.pt"
    bomb(path, name, size=2**28)
    refused(load_weights, path, WeightsError, "would unfold|data.pkl' has")


def test_one_number_shown_many_times_is_no_tensor(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"w": torch.zeros(1).expand(10**5, 10**5)}, path)
    refused(load_weights, path, WeightsError, r"'w' has shape \(100000, 100000\), more numbers than the file has")


def test_honest_weights_are_read(tmp_path):
    torch.save({"w": torch.ones(3).expand(2, 3), "v": torch.arange(4)[1:]}, tmp_path / "a.pt")
    assert load_weights(tmp_path / "a.pt")["w"].tolist() == [[1] * 3] * 2
