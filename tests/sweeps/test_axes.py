"""Axes as they are written, and the names that cells get."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from overfit_lab.errors import ConfigError
from overfit_lab.records.layout import PLAIN_NAME
from overfit_lab.sweeps.axes import name_cells, parse_axes, short_keys, split_values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("r=0,0.2,1", [0, 0.2, 1]),
        ("r= 0 , 0.2 ", [0, 0.2]),
        ("r=8/255,4/255", ["8/255", "4/255"]),
        ("r=true,null,word", [True, None, "word"]),
        ("r=[awp],[swa],[]", [["awp"], ["swa"], []]),
        ("r=[a,b],[[c, d],e]", [["a", "b"], [["c", "d"], "e"]]),
        ("r={a: 1, b: [2, 3]},{}", [{"a": 1, "b": [2, 3]}, {}]),
        ("r='a,b',\"c,d\",''", ["a,b", "c,d", ""]),
        ("r=['x]',y],it's,its", [["x]", "y"], "it's", "its"]),
        ("r=package.module:Class,hard", ["package.module:Class", "hard"]),
    ],
)
def test_values_are_parted_at_top_level_commas_and_read_as_yaml(text, values):
    assert parse_axes([text]) == {"r": values}


def test_axes_keep_their_order():
    assert list(parse_axes(["z.b=1", "a=2,3", "m=[4]"])) == ["z.b", "a", "m"]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["r"], "expected key=value,value"),
        (["=1"], "expected key=value,value"),
        (["r="], "a value is empty"),
        (["r=1,,2"], "a value is empty"),
        (["r=1,"], "a value is empty"),
        (["r=[1,2"], "not valid YAML"),
        (["r=1", "r=2"], "r has values already"),
    ],
)
def test_what_is_no_axis_is_refused_in_one_line(texts, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse_axes(texts)
    assert "\n" not in str(caught.value)


@given(st.lists(st.one_of(st.integers(), st.booleans(), st.lists(st.integers(), max_size=3)), min_size=1, max_size=5))
def test_what_yaml_writes_is_read_back(values):
    text = ",".join(yaml.safe_dump(value, default_flow_style=True, width=10**6).split("\n...")[0] for value in values)
    assert [yaml.safe_load(part) for part in split_values(text)] == values


def test_names_say_the_settings():
    axes = {"labels.r": [0.2, 1], "labels.temperature": [1.5], "data.augment": [["crop", "flip"], []]}
    assert [name for name, _, _ in name_cells(axes, [0, 1])] == [
        "r0.2-temperature1.5-augment_crop-flip-seed0",
        "r0.2-temperature1.5-augment_crop-flip-seed1",
        "r0.2-temperature1.5-augment_none-seed0",
        "r0.2-temperature1.5-augment_none-seed1",
        "r1-temperature1.5-augment_crop-flip-seed0",
        "r1-temperature1.5-augment_crop-flip-seed1",
        "r1-temperature1.5-augment_none-seed0",
        "r1-temperature1.5-augment_none-seed1",
    ]


@pytest.mark.parametrize(
    ("axes", "names"),
    [
        ({}, ["seed0"]),
        ({"attack.eps": ["8/255", -1]}, ["eps8-255-seed0", "eps-1-seed0"]),
        ({"labels.name": ["hard", "sglr"]}, ["labels_hard-seed0", "labels_sglr-seed0"]),
        ({"attack.n_steps": [2], "evaluation.n_steps": [3]}, ["attack.n_steps2-evaluation.n_steps3-seed0"]),
        ({"labels.name": ["hard"], "labels": ["smooth"]}, ["labels.name_hard-labels_smooth-seed0"]),
        ({"data.seed": [4]}, ["data.seed4-seed0"]),
        ({"a.x": ["p q", "p/q", "pq"]}, ["x_p-q_1-seed0", "x_p-q_2-seed0", "x_pq-seed0"]),
        ({"a.x": ["A", "a"]}, ["x_A_1-seed0", "x_a_2-seed0"]),
        ({"a.x": ["../../evil", "", None, True]}, ["x.._..-evil-seed0"]),
        ({f"k{i}": ["v" * 99] for i in range(9)}, ["cell1-seed0"]),
    ],
)
def test_names_are_plain_unique_and_short(axes, names):
    found = [name for name, _, _ in name_cells(axes, [0])]
    assert len({name.lower() for name in found}) == len(found)
    assert all(PLAIN_NAME.fullmatch(name) and len(name) <= 200 for name in found)
    if "evil" not in str(axes):
        assert found == names


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,3}(\.[a-z]{1,3}){0,2}", fullmatch=True),
        st.lists(st.one_of(st.text(max_size=6), st.floats(), st.none(), st.lists(st.text(max_size=3))), min_size=1),
        max_size=3,
    )
)
def test_any_values_give_plain_unique_names(axes):
    cells = list(name_cells(axes, [0, 7]))
    names = [name.lower() for name, _, _ in cells]
    assert len(set(names)) == len(names)
    assert all(PLAIN_NAME.fullmatch(name) for name, _, _ in cells)
    assert all(list(settings) == list(axes) for _, settings, _ in cells)


def test_short_keys_are_as_short_as_they_can_be():
    assert short_keys(["a.b.c", "x.b.c", "c.d"]) == {"a.b.c": "a.b.c", "x.b.c": "x.b.c", "c.d": "d"}
