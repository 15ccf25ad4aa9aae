"""Configurations of other versions: older ones are read as they were meant, later ones are refused."""

from pathlib import Path

import pytest
import yaml

from overfit_lab.cli.main import run
from overfit_lab.config import RunConfig, from_yaml, load_config, parse_config, to_dict, to_yaml
from overfit_lab.config.upgrade import CURRENT, STEPS, upgrade
from overfit_lab.errors import ConfigError
from overfit_lab.records.experiments import differences
from overfit_lab.records.naming import model_title
from overfit_lab.records.reader import Run
from run_factory import make_run

REFERENCE = Path(__file__).parents[2] / "runs" / "reference"
FILES = sorted(REFERENCE.rglob("config.yaml"))
MODEL = {"name": "preact-resnet18", "width": 16}


def without_version(folder, **model):
    """A run folder as version 0 left it."""
    path = make_run(folder, model=MODEL).folder / "config.yaml"
    content = yaml.safe_load(path.read_text())
    assert content.pop("schema") == CURRENT
    content["model"] |= model
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return Run.open(folder)


def test_there_is_a_step_from_every_version():
    assert len(STEPS) == CURRENT


def test_the_version_comes_first_and_a_trip_keeps_everything():
    assert to_yaml(RunConfig()).startswith(f"schema: {CURRENT}\n")
    config = parse_config({"model": MODEL, "data": {"memory_limit": "8GB"}, "probes": {"budget": 0.05}})
    assert from_yaml(to_yaml(config)) == config == parse_config(to_dict(config))


def says(read, content):
    """Whether everything that a file says is read so."""
    if isinstance(content, dict):
        return all(says(read[key], value) for key, value in content.items())
    return read == content


def test_every_reference_run_is_read_as_it_was_written():
    """All but the latest are of version 0; keys that they lack have the value that all runs had then."""
    stored_by_path = {path: yaml.safe_load(path.read_text()) for path in FILES}
    assert sum("schema" not in stored for stored in stored_by_path.values()) > 200
    for path, stored in stored_by_path.items():
        config = load_config(path)
        again = to_dict(config)
        assert says(again, stored), path
        if "schema" in stored:
            assert path.parent.name.startswith("precision-")
            assert stored["schema"] == 2
            continue
        new = {key: value for key, value in config.model.options.items() if key not in stored["model"]}
        assert new in ({}, {"final_norm": True, "shortcut": "activation"}), path
        for group in ("data", "checkpoint", "compute"):
            defaults = to_dict(RunConfig())[group]
            assert {k: v for k, v in again[group].items() if k not in stored[group]}.items() <= defaults.items(), path
        assert from_yaml(to_yaml(config)) == config


def test_an_older_folder_and_a_younger_one_are_one_experiment(tmp_path):
    """The younger one's configuration names options that did not exist; it once counted as another model."""
    old = without_version(tmp_path / "old")
    new = make_run(tmp_path / "new", seed=1, model={**MODEL, "final_norm": True, "shortcut": "activation"})
    assert differences([old, new]) == {}
    assert model_title(old.config) == model_title(new.config) == "PreAct-ResNet-18 (width 16)"


def test_another_value_is_another_model_and_is_said(tmp_path):
    old = without_version(tmp_path / "old")
    other = without_version(tmp_path / "other", final_norm=False)
    assert differences([old, other]) == {"model.final_norm": [True, False]}
    assert model_title(other.config) == "PreAct-ResNet-18 (width 16, final norm False)"
    assert "final_norm" not in make_run(tmp_path / "mlp").config.model.options


@pytest.mark.parametrize("name", ["preact-resnet18", "preact_resnet18"])
def test_a_model_that_is_named_alone_is_upgraded_too(name):
    assert from_yaml(f"model: {name}").model.options == {"final_norm": True, "shortcut": "activation"}
    assert from_yaml(f"schema: {CURRENT}\nmodel: {name}").model.options == {}


def test_a_size_without_a_unit_was_one_in_bytes():
    old = from_yaml("data: {memory_limit: '2000'}\ncompute: {label_memory_limit: '1.5'}")
    assert (old.data.memory_limit, old.compute.label_memory_limit) == ("2000B", "1.5B")
    with pytest.raises(ConfigError, match=r"memory_limit = '2000': expected a size above 0 with its unit"):
        from_yaml("schema: 1\ndata: {memory_limit: '2000'}")


def test_what_is_upgraded_is_not_changed_itself():
    content = {"model": {"name": "preact-resnet18"}, "data": {"memory_limit": "5"}}
    upgrade(content, "x", absent=0)
    assert content == {"model": {"name": "preact-resnet18"}, "data": {"memory_limit": "5"}}


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (CURRENT + 1, f"schema = {CURRENT + 1}: written by a later overfit-lab; this one reads up to {CURRENT}"),
        ("new", f"schema = 'new': expected a whole number from 0 to {CURRENT}"),
        (-1, "schema = -1: expected a whole number"),
        (True, "schema = True: expected a whole number"),
    ],
)
def test_a_version_that_is_not_known_is_refused_in_one_line(version, message, tmp_path, capsys):
    folder = make_run(tmp_path / "run").folder
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "schema": version}))
    for arguments in (["train", str(path), "--out", str(tmp_path / "out")], ["compare", str(folder)]):
        assert run(arguments) == 2
        err = capsys.readouterr().err
        assert message in err
        assert str(path) in err
        assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_version_is_no_key_to_set(capsys):
    assert run(["config", "digits-hard", "--set", "schema=0"]) == 2
    assert "unknown key 'schema'" in capsys.readouterr().err
