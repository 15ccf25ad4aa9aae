"""Files of tensors: what the safetensors library reads is what was written."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from memory import PeakBytes
from overfit_lab.files import tensorfile

TENSORS = {
    "weights/é": torch.randn(3, 4, 5),
    "channels last": torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
    "transposed": torch.randn(4, 6).t(),
    "scalar": torch.tensor(3, dtype=torch.int64),
    "empty": torch.zeros(0, 7),
    "no columns": torch.zeros(3, 0),
    "mask": torch.tensor([True, False, True]),
    "double": torch.randn(5, dtype=torch.float64),
    "half": torch.randn(5).half(),
    "brain": torch.randn(5).bfloat16(),
    "bytes": torch.arange(11, dtype=torch.uint8),
    "parameter": torch.nn.Parameter(torch.randn(3)),
    "one view": torch.arange(10.0)[:4],
}


def written(path, tensors, **metadata):
    with open(path, "wb") as file:
        tensorfile.write(file, tensors, metadata)
    assert int.from_bytes(path.read_bytes()[:8], "little") % 8 == 0, "tensors begin where their elements may lie"
    return path


@pytest.mark.parametrize("piece", [1, 16, 2**26])
def test_the_library_reads_what_is_written(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(tensorfile, "PIECE", piece)
    path = written(tmp_path / "t", TENSORS, note=json.dumps({"a": "ü"}))
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"note": json.dumps({"a": "ü"})}
        assert set(file.keys()) == set(TENSORS)
        for name, tensor in TENSORS.items():
            found = file.get_tensor(name)
            assert found.dtype == tensor.dtype
            assert torch.equal(found, tensor.detach()), name


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.sampled_from(list(tensorfile.TYPES))), max_size=5))
def test_any_shapes_and_types_are_read_as_written(tmp_path_factory, parts):
    tensors = {str(i): (7 * torch.rand(n, m)).to(dtype) for i, (n, m, dtype) in enumerate(parts)}
    path = written(tmp_path_factory.mktemp("t") / "t", tensors)
    with safe_open(path, framework="pt") as file:
        assert all(torch.equal(file.get_tensor(name), tensor) for name, tensor in tensors.items())


def test_it_holds_what_the_librarys_own_writer_writes(tmp_path):
    plain = {"b": torch.randn(4, 3), "a": torch.randn(2), "i": torch.arange(3)}
    save_file(plain, tmp_path / "theirs", metadata={"x": "y"})
    written(tmp_path / "ours", plain, x="y")
    headers = []
    for name in ("theirs", "ours"):
        content = (tmp_path / name).read_bytes()
        length = int.from_bytes(content[:8], "little")
        assert length % 8 == 0
        headers.append((json.loads(content[8 : 8 + length]), content[8 + length :]))
    assert headers[0] == headers[1]


def test_a_type_that_the_format_lacks_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"z: torch\.complex64 cannot be written"):
        written(tmp_path / "t", {"a": torch.zeros(2), "z": torch.zeros(2, dtype=torch.complex64)})
    assert (tmp_path / "t").read_bytes() == b""


def test_nothing_is_copied_but_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorfile, "PIECE", 4096)
    big = torch.zeros(1000, 64)
    turned = torch.zeros(64, 1000).t()
    with PeakBytes() as memory:
        written(tmp_path / "t", {"big": big, "turned": turned})
    assert memory.peak <= 2 * 4096
