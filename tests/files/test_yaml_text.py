"""YAML within limits: hostile text is refused at once, and honest text is read as PyYAML reads it."""

import time
import tracemalloc

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from overfit_lab.errors import ConfigError
from overfit_lab.files.limits import YAML_BYTES, YAML_DEPTH
from overfit_lab.files.yaml_text import parse_yaml

TENS = ",".join(["{}"] * 10)


def laughs(first, line, n=12):
    return first + "".join(line.format(i=i, ten=",".join([f"*a{i - 1}"] * 10)) for i in range(1, n))


HOSTILE = {
    "a billion values": (laughs("a0: &a0 [x]\n", "a{i}: &a{i} [{ten}]\n"), r"more than 100000 values.*\(line 6\)"),
    "merged": (laughs("a0: &a0 {k: 1}\n", "a{i}: &a{i} {{<<: [{ten}], k{i}: 1}}\n"), "values"),
    "one long text": (f"a: &a {'x' * 500_000}\nb: [{','.join(['*a'] * 1000)}]", "more than 4194304 characters"),
    "within itself": ("a: &a [1, *a]", r"alias \*a stands within"),
    "merged with itself": ("a: &a\n  <<: *a\n", r"alias \*a stands within .*line 2"),
    "deep": ("- " * 100_000, f"nested more than {YAML_DEPTH} deep"),
    "deep in brackets": ("[" * 100_000, "not valid YAML in line 1|nested"),
    "deep by indents": ("\n".join(" " * i + "a:" for i in range(1000)), r"nested .*line 33"),
    "many values": (f"[{'1,' * 400_000}]", "more than 100000 values"),
    "long": ("x" * 2 * YAML_BYTES, "has 2 MiB, expected 1 MiB of YAML at most"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_would_unfold_is_refused_before_it_does(name):
    text, reason = HOSTILE[name]
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(ConfigError, match=f"^file: .*{reason}") as caught:
        parse_yaml(text, "file")
    assert time.process_time() - started < 2
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
    assert len(str(caught.value).splitlines()) == 1


WRONG = {
    "2020-13-45": r"month must be in 1..12",
    "{[1]: 2}": "line 1",
    "a: 1\nb: 2\na: 3": "key 'a' comes twice in one group",
    "9" * 5000: "a number has 5000 digits",
    "0x" + "f" * 5000: "a number has 5002 digits",
    "1:" * 2000 + "1": "a number has 4001 digits",
    "a\0b": "not valid YAML",
    "a: \ud800": "surrogates",
    "!!timestamp foo": "not valid YAML$",
    "!!bool x": "not valid YAML$",
    "!!int x": "invalid literal",
    "!!binary ü": "line 1",
    "!!python/object:os.system x": "line 1",
    "*x": "line 1",
    "a: [": "line",
    "--- 1\n--- 2": "line 2",
    "? [a]\n: 1": "line 1",
    "<<: 1": "line 1",
    "a: !!value x": "line 1",
}


@pytest.mark.parametrize("text", WRONG, ids=lambda text: ascii(text[:20]))
def test_wrong_text_is_one_line(text):
    with pytest.raises(ConfigError, match=f"^file: .*{WRONG[text]}") as caught:
        parse_yaml(text, "file")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "null",
            "1",
            "1_000",
            "0o17",
            "017",
            "0b11",
            "1:30",
            "1e3",
            "1.5e+3",
            ".inf",
            "-.INF",
            "8/255",
            "yes",
            "~",
        ),
        *("2020-02-29", "2020-02-29 12:30:00.25", "'2020-13-45'", "a: &a {b: 1}\nc: {<<: *a, b: 2}", "\ufeffa: 1"),
        *("a: &a 1\nb: *a", "[a, [b, {c: d}]]", "!!set {a, b}", "!!omap [a: 1]", "a: |\n  x\n  y\n", "ü: é", "=: 1"),
    ],
)
def test_honest_text_is_read_as_by_the_library_in_python(text):
    assert parse_yaml(text, "file") == yaml.load(text, yaml.SafeLoader)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.dates() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(VALUES)
def test_both_loaders_give_the_same_values(value):
    text = yaml.safe_dump(value)
    assert parse_yaml(text, "file") == yaml.load(text, yaml.SafeLoader)
