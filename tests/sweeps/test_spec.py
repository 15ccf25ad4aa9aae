"""What a sweep's file may say, and what it is told where it is wrong: one line each."""

import subprocess
import sys

import pytest
import yaml

from overfit_lab.cli.main import run
from overfit_lab.errors import ConfigError
from overfit_lab.sweeps.spec import load_spec, parse_spec

WRONG = {
    "seeds: 1": "base is required",
    "base: digits-hard\nseedz: 3": "unknown key 'seedz'; did you mean seeds",
    "base: digits-hard\nseeds: 0": "seeds = 0: expected at least 1",
    "base: digits-hard\nseeds: [1, 1]": "a list of different seeds",
    "base: digits-hard\nseeds: true": "expected how many",
    "base: digits-hard\nseeds: []": "expected how many",
    "base: digits-hard\ngrid: {labels.r: 0.2}": "labels.r needs a list of values, such as labels.r: [0, 0.2]",
    "base: digits-hard\ngrid: {labels.r: []}": "labels.r needs a list of values",
    "base: digits-hard\nretries: -1": "retries = -1",
    "base: digits-hard\njobs: 0": "jobs = 0",
    "base: digits-hard\nresources: {cpus: 0}": "resources.cpus = 0",
    "base: digits-hard\nresources: {cpu: 2}": "resources.cpu: unknown key 'cpu'; did you mean cpus",
    "base: digits-hard\nresources: {memory: much}": "resources.memory = 'much': expected a size above 0",
    "base: digits-hard\nresources: {time: soon}": "resources.time = 'soon': expected a time above 0 with its unit",
    "base: digits-hard\nresources: {memory: 4}": "resources.memory = 4: expected a size above 0 with its unit",
    "base: digits-hard\nresources: {time: 1:30:00}": "resources.time = 5400: expected a time above 0 with its unit",
    "base: digits-hard\nbackend: lokal": "unknown backend 'lokal'; did you mean local",
    "base: digits-hard\nbackends: {local: {nodes: 2}}": "backends.local.nodes: unknown key, there are no options here",
    "base: digits-hard\nlog: tensorbord": "unknown sink 'tensorbord'; did you mean tensorboard",
    "base: digits-hrad": "unknown recipe 'digits-hrad'; did you mean digits-hard",
    "base: other.yaml": "other.yaml: cannot read it as a YAML configuration",
    "base: digits-hard\nset: {labels.x: 1}": "labels.x",
    "base: digits-hard\ngrid: {epochs: [5, many]}": "cell epochs_many-seed0: epochs = 'many'",
    "base: digits-hard\ngrid: {seed: [1, 2]}": "seeds",
    "base: digits-hard\ngrid: {name: [a, b]}": "is the same run as cell",
    "base: digits-hard\nset: {model.name: 'os:system'}": "names code to run (set.model.name = 'os:system')",
    "base: digits-hard\ngrid: {objective.name: ['os:system']}": "names code to run",
    "[1, 2]": "expected keys and values, got list",
    "base: [": "not valid YAML in line 2",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_file_is_one_line_and_writes_nothing(text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.yaml").write_text(text + "\n")
    assert run(["sweep", "sweep.yaml", "--out", "out"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("overfit-lab: ")
    assert WRONG[text] in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sweep.yaml"]


def test_an_absent_file_is_one_line(capsys):
    assert run(["sweep", "none.yaml"]) == 2
    assert "none.yaml: cannot read it as a sweep's YAML" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["ray", "submitit"])
def test_an_absent_package_is_one_line(name, tmp_path, monkeypatch, capsys):
    backend = {"ray": "ray", "submitit": "slurm"}[name]
    (tmp_path / "sweep.yaml").write_text("base: digits-hard\n")
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    assert run(["sweep", str(tmp_path / "sweep.yaml"), "--backend", backend]) == 2
    assert capsys.readouterr().err == (f"overfit-lab: {name} is not installed; pip install 'overfit-lab[{backend}]'\n")


def test_slurm_elsewhere_is_one_line(tmp_path, monkeypatch, capsys):
    pytest.importorskip("submitit")
    (tmp_path / "sweep.yaml").write_text("base: digits-hard\n")
    monkeypatch.setenv("PATH", "")
    assert run(["sweep", "run", str(tmp_path / "sweep.yaml"), "--backend", "slurm"]) == 2
    assert "no command 'sbatch' here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--detach"], "--detach: cells of the backend 'local' end when nobody waits"),
        (["--address", "auto"], "--address goes with --backend ray, not local"),
        (["--option", "partition"], "expected key=value"),
        (["--jobs", "0"], "jobs = 0"),
        (["--retries", "-1"], "retries = -1"),
    ],
)
def test_wrong_options_are_one_line(arguments, told, tmp_path, capsys):
    (tmp_path / "sweep.yaml").write_text("base: digits-hard\n")
    assert run(["sweep", str(tmp_path / "sweep.yaml"), "--out", str(tmp_path / "out"), *arguments]) == 2
    err = capsys.readouterr().err
    assert told in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["status", "resume", "collect"])
def test_a_folder_that_is_no_sweep_is_one_line(command, tmp_path, capsys):
    assert run(["sweep", command, str(tmp_path / "none")]) == 2
    assert run(["sweep", command, str(tmp_path)]) == 2
    (tmp_path / "sweep.json").write_text('{"format": 1, "cells": []}')
    assert run(["sweep", command, str(tmp_path)]) == 2
    (tmp_path / "sweep.json").write_text('{"format": 99}')
    assert run(["sweep", command, str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.rpartition(": ")[2] for line in lines[:1]] == ["no such folder of a sweep"]
    assert "no sweep.json in it" in lines[1]
    assert "damaged" in lines[2]
    assert "has format 99" in lines[3]


def test_help_names_the_commands_and_a_file_is_no_command(capsys):
    assert run(["sweep", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("run", "status", "resume", "collect"))


def test_the_example_is_read_and_survives_a_trip_through_plain_values(tmp_path):
    text = {
        "base": "digits-sglr",
        "set": {"epochs": 20},
        "grid": {"labels.r": [0, 0.2], "data.augment": [["crop"], []]},
        "seeds": [0, 5],
        "resources": {"cpus": 2, "memory": "2 GB", "time": "1 h"},
        "backends": {"slurm": {"partition": "gpu"}},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(text))
    spec = load_spec(tmp_path / "mine.yaml")
    assert (spec.name, spec.numbers(3)) == ("mine", [0, 5])
    assert parse_spec(spec.model_dump(mode="json"), "again") == spec
    assert parse_spec({"base": "x", "seeds": 2}, "y").numbers(3) == [3, 4]
    with pytest.raises(ConfigError, match="frozen"):
        _assign(spec)


def _assign(spec):
    try:
        spec.retries = 3
    except ValueError as error:
        raise ConfigError(str(error)) from error


def test_no_backend_loads_its_package_before_it_is_asked_for():
    code = (
        "import sys, overfit_lab.config.catalog as c, overfit_lab.sweeps.status; list(c.BACKENDS);"
        "assert not {'ray', 'submitit', 'torch', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
