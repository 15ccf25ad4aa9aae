"""Damage that nobody would notice: flipped bits, blocks that were lost or moved, headers that say otherwise."""

import itertools
import json
import random
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from overfit_lab.errors import RunFolderError, WeightsError
from overfit_lab.files import tensorfile
from overfit_lab.files.arrays import read_arrays, write_arrays
from overfit_lab.files.sums import BLOCK, BlockSum
from overfit_lab.files.tensor_header import read_notes
from overfit_lab.files.tensorfile import read_tensors, write_tensors
from overfit_lab.models.weights import load_weights

TENSORS = {
    "model/w": torch.randn(50, 70),
    "model/b": torch.randn(3),
    "labels/y": torch.arange(5),
    "m": torch.ones(3) > 0,
}


@pytest.fixture
def path(tmp_path):
    write_tensors(tmp_path / "a.safetensors", TENSORS, {"clock": {"epoch": 3}})
    return tmp_path / "a.safetensors"


def test_what_is_written_is_read_and_the_library_reads_it_too(path):
    notes, tensors = read_tensors(path)
    assert notes == read_notes(path) == {"clock": {"epoch": 3}}
    for read in (tensors, load_file(path)):
        assert {name: t.tolist() for name, t in read.items()} == {name: t.tolist() for name, t in TENSORS.items()}


def test_no_flipped_bit_goes_unnoticed(path):
    content = path.read_bytes()
    key = content.index(b"overfit-lab-checksum")  # without it the file is one that has none
    for place in [*random.Random(0).sample(range(8, len(content)), 500), 8, len(content) - 1]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        if 0 <= place - key < 20:
            continue
        for read in (read_tensors, load_weights):
            with pytest.raises((RunFolderError, WeightsError), match=r"a\.safetensors: damaged"):
                read(path)
    path.write_bytes(content)
    read_tensors(path)


def test_weights_say_what_is_wrong_with_them(path):
    content = bytearray(path.read_bytes())
    content[-300] ^= 4
    path.write_bytes(content)
    with pytest.raises(RunFolderError, match=r"a\.safetensors: damaged \(checksum differs\)$"):
        read_tensors(path)
    with pytest.raises(WeightsError, match=r"a\.safetensors: damaged.*checksum differs"):
        load_weights(path)


def test_the_notes_alone_are_checked_too(path):
    content = path.read_bytes()
    path.write_bytes(content.replace(b'\\"epoch\\": 3', b'\\"epoch\\": 4'))
    with pytest.raises(RunFolderError, match="the checksum of its header differs"):
        read_notes(path)


def test_older_files_without_a_checksum_are_read(tmp_path):
    save_file(TENSORS, tmp_path / "a.safetensors", metadata={"overfit-lab": json.dumps({"clock": 1})})
    notes, tensors = read_tensors(tmp_path / "a.safetensors")
    assert notes == {"clock": 1}
    assert torch.equal(tensors["model/w"], TENSORS["model/w"])


def test_tensors_that_lie_where_no_element_may(tmp_path):
    path = tmp_path / "a.safetensors"
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    header += b" " * (3 - len(header) % 8 + 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header + np.array([1, 2], np.float32).tobytes())
    assert load_weights(path)["w"].tolist() == [1, 2]


def header_of(entries, size=8):
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + bytes(size)


def entry(**changes):
    return {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


HEADERS = {
    "huge": (2**40).to_bytes(8, "little") + b"{}",
    "longer than the file": (2**20).to_bytes(8, "little") + b"{}",
    "nothing": b"",
    "no object": header_of([1]),
    "negative": header_of(entry(shape=[-2, -1])),
    "a shape of text": header_of(entry(shape=["2"])),
    "a huge shape": header_of(entry(shape=[2**62, 2**62])),
    "beyond the file": header_of(entry(shape=[2**30], data_offsets=[0, 2**32])),
    "before its beginning": header_of(entry(data_offsets=[-8, 0])),
    "a gap": header_of(entry(data_offsets=[8, 16]), 16),
    "more than it says": header_of(entry(), 16),
    "overlapping": header_of(entry() | {"v": entry()["w"]}),
    "no type": header_of(entry(dtype="X")),
    "a type that is a list": header_of(entry(dtype=[1])),
    "texts that are none": header_of({"__metadata__": {"a": 1}}, 0),
    "texts that are a list": header_of({"__metadata__": [1]}, 0),
    "a checksum of another kind": header_of({"__metadata__": {"overfit-lab-checksum": "x"}}, 0),
    "a checksum that is none": header_of({"__metadata__": {"overfit-lab-checksum": "blocks:x:y"}}, 0),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_says_otherwise_than_the_file_is_refused(tmp_path, name):
    path = tmp_path / "a.safetensors"
    path.write_bytes(HEADERS[name])
    for read in (read_tensors, load_weights, read_notes):
        with pytest.raises((RunFolderError, WeightsError), match=r"a\.safetensors: ") as caught:
            read(path)
        assert len(str(caught.value).splitlines()) == 1


@given(st.binary(max_size=3 * BLOCK), st.lists(st.integers(0, 3 * BLOCK), max_size=6))
def test_the_sum_does_not_depend_on_the_pieces(content, cuts):
    once, by_parts = BlockSum(), BlockSum()
    once.update(memoryview(content))
    places = [0, *sorted(cut % (len(content) + 1) for cut in cuts), len(content)]
    for start, end in itertools.pairwise(places):
        by_parts.update(memoryview(content[start:end]))
    assert once.value == by_parts.value


def test_blocks_that_were_lost_or_moved_change_it():
    content = np.random.default_rng(0).bytes(5 * BLOCK)
    sums = set()
    for order in ([0, 1, 2, 3, 4], [1, 0, 2, 3, 4], [0, 1, 2, 4, 4], [0, 1, 2, 3]):
        one = BlockSum()
        for i in order:
            one.update(memoryview(content[i * BLOCK : (i + 1) * BLOCK]))
        sums.add(one.value)
    zeros = BlockSum()
    zeros.update(memoryview(content[: 4 * BLOCK] + bytes(BLOCK)))
    assert len(sums | {zeros.value}) == 5


def test_pieces_do_not_change_a_file(tmp_path, monkeypatch):
    files = []
    for piece in (1, 100, 2**26):
        monkeypatch.setattr(tensorfile, "PIECE", piece)
        write_tensors(tmp_path / f"{piece}", TENSORS, {})
        read_tensors(tmp_path / f"{piece}")
        files.append((tmp_path / f"{piece}").read_bytes())
    assert len(set(files)) == 1


def test_no_flipped_bit_of_an_array_goes_unnoticed(tmp_path):
    path = tmp_path / "a.npz"
    write_arrays(path, {"x": np.random.default_rng(0).normal(size=500), "y": np.arange(20)})
    before, content = read_arrays(path), path.read_bytes()
    for place in random.Random(0).sample(range(len(content)), 300):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        with suppress(RunFolderError):  # else it was of no account: a date, a flag, a name
            after = read_arrays(path)
            assert [a.tobytes() for a in after.values()] == [b.tobytes() for b in before.values()][: len(after)]
