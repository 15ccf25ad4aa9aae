"""Configuration: round trips, bounds, overrides, messages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overfit_lab.config import RunConfig, apply_overrides, from_yaml, load_config, parse_config, resolve_moment, to_yaml
from overfit_lab.config.recipes import RECIPES, recipe
from overfit_lab.errors import ConfigError


@pytest.mark.parametrize("name", list(RECIPES))
def test_recipes_round_trip_through_yaml(name):
    assert from_yaml(to_yaml(recipe(name))) == recipe(name)


@given(
    eps=st.floats(0, 1),
    lr=st.floats(1e-6, 10),
    seed=st.integers(0, 2**40),
    rate=st.floats(0, 1),
    augment=st.lists(st.sampled_from(["crop", "flip", "cutout"]), max_size=3),
)
def test_any_config_round_trips_exactly(eps, lr, seed, rate, augment):
    content = {
        "seed": seed,
        "attack": {"eps": eps},
        "optimizer": {"lr": lr},
        "data": {"augment": augment, "noise": {"kind": "symmetric", "rate": rate}},
    }
    config = parse_config(content)
    assert from_yaml(to_yaml(config)) == config
    assert config.attack.eps == eps


@pytest.mark.parametrize(("text", "value"), [("8/255", 8 / 255), ("0.1", 0.1), ("128 / 255", 128 / 255), ("0", 0.0)])
def test_pixel_distances_accept_fractions(text, value):
    assert apply_overrides(RunConfig(), [f"attack.eps={text}"]).attack.eps == value


def test_fractions_of_255_are_written_as_such():
    assert "eps: 8/255" in to_yaml(RunConfig())


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("labls.r=2", "unknown key 'labls'; did you mean labels"),
        ("attack.epz=1", "attack.epz: unknown key 'epz'; did you mean eps"),
        ("attack.eps=-1", "attack.eps = -1"),
        ("attack.eps=1/0", "is not a number or a fraction"),
        ("attack.eps=nan", "attack.eps"),
        ("epochs=0", "epochs = 0"),
        ("epochs=ten", "epochs = 'ten'"),
        ("seed", "expected key=value"),
        ("=3", "expected key=value"),
        ("seed.x=3", "seed is a value, not a group"),
        ("data.noise.rate=0.3", "needs a kind of noise"),
        ("data.noise.kind=loud", "data.noise.kind = 'loud'"),
        ("optimizer.lr=[1", "not valid YAML"),
        ("data.augment=crop,spin", "data.augment.1 = 'spin'"),
    ],
)
def test_bad_overrides_say_what_is_wrong_in_one_line(assignment, message):
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")) as caught:
        apply_overrides(RunConfig(), [assignment])
    assert "\n" not in str(caught.value)


def test_another_component_drops_the_options_of_the_one_it_replaces():
    smooth = apply_overrides(RunConfig(), ["labels.name=smooth", "labels.r=0.3"])
    assert smooth.labels.options == {"r": 0.3}
    assert apply_overrides(smooth, ["labels.name=hard"]).labels.options == {}
    assert apply_overrides(smooth, ["labels.name=smooth"]).labels.options == {"r": 0.3}


def test_configurations_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        RunConfig().seed = 3


def test_a_config_file_that_is_none_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path)
    path = tmp_path / "a.yaml"
    path.write_text("- 1\n- 2\n")
    with pytest.raises(ConfigError, match="expected keys and values"):
        load_config(path)
    path.write_text("a: [1\nb: 2\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(path)


@pytest.mark.parametrize(("moment", "epoch"), [(7, 7), ("45%", 90), ("50%", 100), ("0%", 0), ("100%", 200)])
def test_moments(moment, epoch):
    assert resolve_moment(moment, 200) == epoch


@pytest.mark.parametrize(
    "text", ["regularizers=[awp, swa]", "regularizers=awp,swa", "regularizers=[{name: awp}, {name: swa}]"]
)
def test_regularizers_are_listed_by_name(text):
    config = apply_overrides(recipe("digits-hard"), [text, "regularizers.awp.gamma=0.02"])
    assert [part.name for part in config.regularizers] == ["awp", "swa"]
    assert config.regularizers[0].options == {"gamma": 0.02}


@pytest.mark.parametrize("text", ["regularizers=[]", "regularizers=none", "regularizers=null"])
def test_no_regularizers(text):
    assert apply_overrides(recipe("digits-awp"), [text]).regularizers == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("regularizers.awp.gamma=1", r"has no 'awp' \(it is: empty\)"),
        ("regularizers.0=awp", "expected regularizers.NAME.OPTION=value"),
        ("regularizers=[awp, awp]", "listed 2 times"),
        ("regularizers=3", r"expected a list of regularizers, such as \[awp, swa\]"),
        ("regularizers=[3]", "regularizers.0"),
    ],
)
def test_wrong_regularizers_are_refused_in_one_line(text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        apply_overrides(recipe("digits-hard"), [text])
    assert "\n" not in str(caught.value)


def test_a_component_may_be_named_alone_and_its_options_set_after_it():
    config = apply_overrides(recipe("digits-hard"), ["labels=sglr", "labels.r=0.3", "schedule=cosine"])
    assert (config.labels.name, config.labels.options) == ("sglr", {"r": 0.3})
    assert (config.schedule.name, config.schedule.options) == ("cosine", {})
    nested = apply_overrides(config, ["attack.eps_schedule=ramp", "attack.eps_schedule.until=3"])
    assert nested.attack.eps_schedule.options == {"until": 3}
    assert apply_overrides(nested, ["attack.eps_schedule.name=constant"]).attack.eps_schedule.options == {}
