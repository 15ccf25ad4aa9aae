"""JSON within limits."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overfit_lab.errors import RunFolderError
from overfit_lab.files.json_text import parse_json, parse_line, read_json, read_object
from overfit_lab.files.limits import JSON_BYTES, JSON_DEPTH

WRONG = {
    "[" * 100_000: f"nested more than {JSON_DEPTH} deep",
    '{"a":' * 100_000: f"nested more than {JSON_DEPTH} deep",
    "[" * 100 + "]" * 100: f"nested more than {JSON_DEPTH} deep",
    "[" + "[]," * 1_500_000 + "1]": "has some 3000001 values, expected 2000000 at most",
    "9" * 5000: "a number has 5000 digits",
    '"\\ud800"': "half a character",
    '{"\\udc00": 1}': "half a character",
    "{": "not valid JSON in line 1",
    '{"a": 1,\n}': "not valid JSON in line 2",
    "": "not valid JSON",
    "x" * (JSON_BYTES + 1): "has 8 MiB, expected 8 MiB of JSON at most",
}


@pytest.mark.parametrize("text", WRONG, ids=lambda text: ascii(text[:9]))
def test_wrong_text_is_one_line(text):
    with pytest.raises(RunFolderError, match=f"^file: .*{WRONG[text]}") as caught:
        parse_json(text, "file")
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_not_finite_is_null():
    assert parse_json("[NaN, Infinity, -Infinity, 1]", "file") == [None, None, None, 1]


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(VALUES, st.booleans())
def test_everything_else_is_read_as_written(value, plain):
    assert parse_json(json.dumps(value, ensure_ascii=plain), "file") == value


@given(st.text())
def test_any_line_is_an_object_or_an_error(line):
    with suppress(ValueError):
        assert isinstance(parse_line(line), dict)


def test_files_say_their_name_and_the_cause(tmp_path):
    path = tmp_path / "a.json"
    for content, reason in (
        (b"\xff", "is not UTF-8 text"),
        (b"[1]", "expected a JSON object"),
        (b"{", "not valid JSON"),
    ):
        path.write_bytes(content)
        with pytest.raises(RunFolderError, match=f"a.json: .*{reason}"):
            read_object(path)
    path.write_bytes(b"\xef\xbb\xbf{}")
    assert read_object(path) == {}
    with pytest.raises(RunFolderError, match=r"a.json: has 3 bytes|a.json: has 5 bytes, expected 3 bytes at most"):
        read_json(path, most=3)
