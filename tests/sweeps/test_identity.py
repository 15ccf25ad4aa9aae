"""The names of cells' folders: what changes them, and what must not."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, create_model

from overfit_lab import config as config_module
from overfit_lab.config import AttackConfig, RunConfig, apply_settings, from_yaml, parse_config, to_dict, to_yaml
from overfit_lab.config.recipes import recipe
from overfit_lab.methods.labels.sglr import Sglr
from overfit_lab.records import identity
from overfit_lab.sweeps.identity import cell_id, essence
from overfit_lab.training.complete import complete
from tiny import tiny_config

PINNED = {"digits-hard": "9775d3353bbf", "digits-sglr": "0a77d3a46ffb", "paper-cifar10-awp": "d56ca7272a79"}
"""Folders of users are called so: these may not change from version to version."""


def of(name, *settings):
    return complete(apply_settings(recipe(name), settings))


@pytest.mark.parametrize("name", PINNED)
def test_is_what_it_was_in_earlier_versions(name):
    assert cell_id(of(name)) == PINNED[name]


def test_is_the_same_in_another_process_with_another_order_of_sets():
    code = (
        "from overfit_lab.training.complete import complete; from overfit_lab.config.recipes import recipe;"
        "from overfit_lab.sweeps.identity import cell_id; print(cell_id(complete(recipe('digits-sglr'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=_with_hash_seed("77"), capture_output=True, text=True)
    assert done.stdout.strip() == cell_id(of("digits-sglr")), done.stderr


def _with_hash_seed(seed):
    import os

    return {**os.environ, "PYTHONHASHSEED": seed}


def test_the_order_of_keys_plays_no_part():
    content = to_dict(of("digits-sglr"))
    backwards = json.loads(json.dumps(content), object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    assert list(backwards) == list(reversed(content))
    assert cell_id(complete(parse_config(backwards))) == cell_id(of("digits-sglr"))


def test_a_trip_through_yaml_changes_nothing():
    config = complete(tiny_config(regularizers=[{"name": "awp"}], attack={"norm": "l2"}))
    assert cell_id(complete(from_yaml(to_yaml(config)))) == cell_id(config)


@pytest.mark.parametrize(
    "setting",
    [
        ("seed", 1),
        ("labels.r", 0.3),
        ("epochs", 7),
        ("attack.eps", 0.2),
        ("attack.eps_schedule.name", "linear"),
        ("data.noise.rate", 0.1),
        ("data.name", "mnist"),
        ("model.hidden", 33),
        ("objective.name", "standard"),
        ("regularizers", ["awp"]),
        ("schedule.name", "cosine"),
        ("probes.n", 7),
        ("optimizer.lr", 0.05),
        ("compute.precision", "bf16"),
    ],
)
def test_whatever_changes_a_number_changes_the_name(setting):
    config = complete(apply_settings(tiny_config(), [setting]))
    assert cell_id(config) != cell_id(complete(tiny_config()))
    assert identity.run(config) != identity.run(complete(tiny_config()))


@pytest.mark.parametrize("setting", [("name", "other"), ("data.root", "somewhere"), ("data.download", True)])
def test_what_a_run_is_called_and_where_its_data_lies_changes_nothing(setting):
    config = complete(apply_settings(tiny_config(), [setting]))
    assert cell_id(config) == cell_id(complete(tiny_config()))
    assert identity.run(config) == identity.run(complete(tiny_config()))


@given(value=st.sampled_from([0.1, 1e-7, 1 / 3, 2.0, 5e-4]))
def test_equal_numbers_have_one_name(value):
    one, two = (complete(apply_settings(tiny_config(), [("optimizer.lr", v)])) for v in (value, repr(value)))
    assert cell_id(one) == cell_id(two)


def test_an_option_that_a_later_version_adds_keeps_the_name():
    """A key with a default in a group of keys, and in a whole new group."""
    before = complete(tiny_config())
    attack = create_model("Attack", __base__=AttackConfig, momentum=(float, Field(0.75)))
    group = create_model("Group", __base__=config_module.Options, speed=(int, 3))
    later = create_model(
        "Later", __base__=RunConfig, attack=(attack, attack()), novelty=(group, group()), order=(tuple[str, ...], ())
    )
    after = later.model_validate(before.model_dump(mode="json"))
    assert after.attack.momentum == 0.75
    assert "momentum" in after.model_dump()["attack"]
    assert cell_id(after) == cell_id(before)
    changed = later.model_validate({**before.model_dump(mode="json"), "novelty": {"speed": 4}})
    assert cell_id(changed) != cell_id(before)


def test_an_option_that_a_component_gets_later_keeps_the_name(monkeypatch):
    before = cell_id(complete(tiny_config("sglr")))
    later = create_model("Options", __base__=Sglr.Options, sharpness=(float, 1.5))
    monkeypatch.setattr(Sglr, "Options", later)
    config = complete(tiny_config("sglr"))
    assert config.labels.options["sharpness"] == 1.5
    assert cell_id(config) == before
    assert cell_id(complete(tiny_config({"name": "sglr", "sharpness": 2.0}))) != before


def test_a_default_that_is_named_is_the_default():
    assert cell_id(of("digits-hard", ("optimizer.momentum", 0.9))) == cell_id(of("digits-hard"))
    assert "optimizer" in essence(of("digits-hard", ("optimizer.momentum", 0.8)))
