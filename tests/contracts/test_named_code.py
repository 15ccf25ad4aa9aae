"""No file makes a command import a module that lies in the current folder: not by any string, not through any command.

Every string of every kind of file, and every option of every registered component that takes a string, is replaced by
the name of such a module. Commands are tried twice: as they are, and with the check of files as a whole switched off,
so that the door (``import_object``) is seen to hold by itself.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from overfit_lab.cli.main import run
from overfit_lab.config import catalog, permission, to_dict, trust
from overfit_lab.config.options import options_model
from overfit_lab.config.registry import Registry, import_object
from overfit_lab.errors import ConfigError
from overfit_lab.sweeps.backends import slurm
from overfit_lab.sweeps.spec import Resources
from overfit_lab.sweeps.work import CellJob
from overfit_lab.training.complete import complete
from tiny import tiny_config

NAMES = ("planted:Thing", "train:planted:Thing")
PLANTED = "import pathlib\npathlib.Path(__file__).with_name('RAN').touch()\n\n\nclass Thing:\n    pass\n"
PARTS = {  # where the components of a registry stand in a configuration
    "MODELS": ("model",),
    "ATTACKS": ("attack",),
    "OBJECTIVES": ("objective",),
    "LABELS": ("labels",),
    "REGULARIZERS": ("regularizers", 0),
    "SCHEDULES": ("schedule",),
    "PROBES": ("probes", "options"),
}


@pytest.fixture(autouse=True)
def planted(tmp_path, monkeypatch):
    """The module, in the current folder, which is on no search path."""
    (tmp_path / "planted.py").write_text(PLANTED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    yield tmp_path
    assert not (tmp_path / "RAN").exists()
    assert "planted" not in sys.modules


@pytest.fixture(params=["checked", "door alone"])
def guard(request, monkeypatch):
    """Whether files are checked as a whole before; without that check the door has to hold."""
    if request.param == "door alone":
        monkeypatch.setattr(trust, "_leaves", lambda *_: iter(()))
    return request.param


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run of one epoch, with an evaluation."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    path = folder.parent / "a.yaml"
    path.write_text(yaml.safe_dump(content()))
    assert run(["train", str(path), "--out", str(folder)]) == 0
    assert run(["evaluate", str(folder), "--attack", "pgd", "--n", "8"]) == 0
    return folder


def content():
    """A complete configuration as nested plain values, in which training takes a moment."""
    probes = {"every": 1, "metrics": ["confidence"], "n": 8}
    return to_dict(complete(tiny_config("hard", epochs=1, probes=probes, schedule={"name": "constant"})))


def strings(value, place=()):
    """The place of every string in nested values, keys that are names of components included."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from strings(below, (*place, key))
    elif isinstance(value, list):
        for i, below in enumerate(value):
            yield from strings(below, (*place, i))
    elif isinstance(value, str):
        yield place


def changed(value, place, new):
    """A copy with the value at a place replaced; what is missing on the way is made."""
    if not place:
        return new
    step, *further = place
    if isinstance(step, int):
        whole = list(value) if isinstance(value, list) else []
        whole += [{}] * (step + 1 - len(whole))
    else:
        whole = dict(value) if isinstance(value, dict) else {}
    below = whole[step] if isinstance(step, int) else whole.get(step)
    whole[step] = changed(below, further, new)
    return whole


def configurations():
    """Configurations with a planted name in one string each, also in those that are not set by default."""
    whole = content()
    more = [("labels", "teacher"), ("evaluation", "corruption"), ("attack", "eps_schedule"), ("model", "anything")]
    more += [("regularizers",), ("probes", "metrics"), ("probes", "options", "iiw", "prior"), ("data", "name")]
    for place in [*strings(whole), *more]:
        for name in NAMES:
            yield ".".join(map(str, place)), changed(whole, place, name)
    yield "regularizers, as parts", changed(whole, ("regularizers",), [{"name": "kd-at", "teacher": NAMES[1]}])
    yield "regularizers, as names", changed(whole, ("regularizers",), ["awp", NAMES[0]])
    yield "options of a probe of that name", changed(whole, ("probes", "options"), {NAMES[0]: {"n": 3}})


def components():
    """A planted name in every option of every component of a configuration that is not merely a number."""
    for registry, place in PARTS.items():
        for name in getattr(catalog, registry):
            try:
                model = options_model(getattr(catalog, registry)[name])
            except TypeError:
                continue
            for field, info in ({} if model is None else model.model_fields).items():
                if "str" in str(info.annotation) or "Any" in str(info.annotation) or "dict" in str(info.annotation):
                    yield registry, place, name, field


@pytest.mark.parametrize("command", ["train", "cost", "config"])
def test_no_string_of_a_configuration_file(command, guard, tmp_path, capsys):
    for i, (place, mapping) in enumerate(configurations()):
        path = tmp_path / f"{i}.yaml"
        path.write_text(yaml.safe_dump(mapping))
        status = run([command, str(path), *(["--out", str(tmp_path / f"run{i}")] if command == "train" else [])])
        assert not (tmp_path / "RAN").exists(), place
        assert status in (0, 2), (place, capsys.readouterr().err)
        if guard == "checked" and "planted:Thing" in yaml.safe_dump(mapping):
            assert status == 2, place


def test_no_option_of_any_component(guard, tmp_path, capsys):
    seen = set()
    for registry, place, name, field in components():
        seen.add(registry)
        for planted_name in NAMES:
            options = {name: {field: planted_name}} if registry == "PROBES" else {"name": name, field: planted_name}
            mapping = changed(content(), place, options)
            if registry == "PROBES":
                mapping["probes"]["metrics"] = [name]
            path = tmp_path / "a.yaml"
            path.write_text(yaml.safe_dump(mapping))
            assert run(["cost", str(path)]) in (0, 1, 2)
            assert run(["config", str(path)]) in (0, 2)
            assert not (tmp_path / "RAN").exists(), (registry, name, field)
    assert {"LABELS", "PROBES"} <= seen
    assert "Traceback" not in capsys.readouterr().err


READERS = [
    ["probe", "{}", "--metric", "confidence"],
    ["evaluate", "{}", "--attack", "pgd", "--n", "4"],
    ["check", "{}", "--n", "4"],
    ["train", "digits-hard", "--resume", "--out", "{}"],
]


@pytest.mark.parametrize("command", READERS, ids=lambda command: command[0])
def test_no_string_of_a_run_folders_configuration(command, guard, trained, tmp_path):
    folder = tmp_path / "received"
    shutil.copytree(trained, folder)
    for place, mapping in configurations():
        (folder / "config.yaml").write_text(yaml.safe_dump(mapping))
        assert run([part.format(folder) for part in command]) in (0, 2), place
        assert not (tmp_path / "RAN").exists(), place


VIEWS = [
    ["compare", "{}"],
    ["table", "{}"],
    ["diagnose", "{}"],
    ["figure", "overview", "{}", "--out", "a.png"],
    ["report", "{}", "-o", "a.html"],
    ["watch", "{}", "--once"],
    ["probe", "{}", "--metric", "confidence"],
    ["evaluate", "{}", "--attack", "pgd", "--n", "8"],
    ["train", "a.yaml", "--resume", "--out", "{}"],
]


@pytest.mark.parametrize("name", NAMES)
def test_no_string_of_the_other_files_of_a_run_folder(name, trained, tmp_path):
    folder = tmp_path / "received"
    shutil.copytree(trained, folder)
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(content()))
    for path in folder.rglob("*.json"):
        mapping = json.loads(path.read_text())
        for place in list(strings(mapping)):
            if place[-1] not in ("status", "started", "ended"):
                mapping = changed(mapping, place, name)
        path.write_text(json.dumps({**mapping, "sinks": {name: 1}, "metrics": [name], name: 1}))
    (folder / "sinks.json").write_text(json.dumps({name: 1}))
    (folder / "budget.json").write_text(json.dumps([{"probe": name, "metrics": [name]}]))
    rows = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    extra = [{**row, key: name} for row in rows[-3:] for key in ("probe", "field", "split", "inputs", "labels")]
    with open(folder / "records.jsonl", "a") as file:
        file.writelines(json.dumps(row) + "\n" for row in extra)
    for path in (folder / "evaluations").glob("*.npz"):
        with np.load(path) as arrays:
            kept = {key: np.array(name) if arrays[key].dtype.kind == "U" else arrays[key] for key in arrays.files}
        np.savez(path, **kept)
    for command in VIEWS:
        run([part.format(folder) for part in command])
        assert not (tmp_path / "RAN").exists(), command


@pytest.mark.parametrize("command", VIEWS[:6], ids=lambda command: command[0])
def test_what_looks_at_records_imports_no_name_of_the_configuration(command, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(trust, "_leaves", lambda *_: iter(()))
    folder = tmp_path / "received"
    shutil.copytree(trained, folder)
    mapping = content()
    for key in ("model", "objective", "labels", "schedule"):
        mapping = changed(mapping, (key,), {"name": NAMES[0]})
    mapping = changed(mapping, ("regularizers",), [{"name": NAMES[0]}])
    mapping = changed(mapping, ("probes", "metrics"), ["confidence", NAMES[0]])
    (folder / "config.yaml").write_text(yaml.safe_dump(mapping))
    assert run([part.format(folder) for part in command]) in (0, 2)


def sweep_files():
    """Sweeps with a planted name in one string each."""
    spec = {"name": "s", "base": "digits-hard", "set": {"epochs": 1, "labels.name": "hard"}, "grid": {"seed": [0]}}
    spec |= {"backend": "local", "device": "cpu", "log": ["tensorboard"], "backends": {"local": {}}}
    spec["grid"] = {"labels.name": ["hard"]}
    for place in strings(spec):
        if place == ("name",):  # no name of code
            continue
        for name in NAMES:
            yield ".".join(map(str, place)), changed(spec, place, name)
    yield "base, as keys", {**spec, "base": {"model": {"name": NAMES[0]}}}
    yield "a teacher", {**spec, "set": {"labels": {"name": "kd", "teacher": NAMES[1]}}}


def test_no_string_of_a_sweeps_file(guard, tmp_path):
    for place, spec in sweep_files():
        if guard == "door alone" and not place.startswith(("backend", "log", "base, ", "grid")):
            continue
        (tmp_path / "s.yaml").write_text(yaml.safe_dump(spec))
        assert run(["sweep", "run", str(tmp_path / "s.yaml"), "--out", str(tmp_path / "s")]) == 2, place
        assert not (tmp_path / "RAN").exists(), place
        assert not (tmp_path / "s" / "sweep.json").exists(), place


def test_no_string_of_a_sweeps_folder(guard, trained, tmp_path):
    spec = {"name": "s", "base": str(tmp_path / "a.yaml"), "device": "cpu", "jobs": 1}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(content()))
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(spec))
    from overfit_lab.sweeps.cells import plan
    from overfit_lab.sweeps.manifest import write_manifest
    from overfit_lab.sweeps.spec import load_spec

    folder = tmp_path / "s"
    folder.mkdir()
    write_manifest(folder, plan(load_spec(tmp_path / "s.yaml"), tmp_path))
    (path,) = folder.glob("*.json")
    manifest = json.loads(path.read_text())
    for i, place in enumerate(strings(manifest)):
        path.write_text(json.dumps(changed(manifest, place, NAMES[i % 2])))
        run(["sweep", "status", str(folder)])
        if guard == "door alone":
            run(["sweep", "collect", str(folder), "--out", str(tmp_path / "t.csv")])
        is_cell = place[0] == "cells" and "config" in place
        if (guard == "checked" and is_cell) or place[-1] in ("backend", "device"):
            assert run(["sweep", "resume", str(folder)]) == 2, place
        elif is_cell and place[-2:] == ("labels", "name"):
            assert run(["sweep", "resume", str(folder)]) == 1, place
        assert not (tmp_path / "RAN").exists(), place


@pytest.mark.parametrize(
    ("backend", "options"),
    [("slurm", {"setup": ["touch RAN"]}), ("slurm", {"more": {"wrap": "touch RAN"}}), ("ray", {"address": "host:1"})],
)
def test_what_a_backend_would_run_needs_trust(backend, options, tmp_path, capsys):
    spec = {"name": "s", "base": "digits-hard", "backend": backend, "backends": {backend: options}}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(spec))
    assert run(["sweep", "run", str(tmp_path / "s.yaml"), "--out", str(tmp_path / "s")]) == 2
    (key,) = options
    assert f"backends.{backend}.{key}" in (said := capsys.readouterr().err)
    assert "--trust" in said


@pytest.mark.parametrize("name", [name for name, value in vars(catalog).items() if isinstance(value, Registry)])
def test_every_registry_has_the_one_door(name):
    with permission.granted(permission.NOTHING), pytest.raises(ConfigError, match="--trust"):
        getattr(catalog, name)[NAMES[0]]


@pytest.mark.parametrize(
    ("text", "name", "covers"),
    [
        ("model.name=mine:Net", "mine:Net", True),
        ("train:mine:Net", "mine:Net", True),
        ("regularizers=[awp,mine:Net]", "mine:Net", True),
        ("model.name=mine:Network", "mine:Net", False),
        ("model.name=not.mine:Net", "mine:Net", False),
        ("runs/mine:Net", "mine:Net", False),
        ("runs/a", "mine:Net", False),
    ],
)
def test_a_name_is_the_users_own_where_it_was_typed(text, name, covers):
    assert permission.Permission(frozenset([text])).covers(name) is covers


def test_the_folder_is_searched_while_a_typed_name_is_imported_and_no_longer(tmp_path):
    (tmp_path / "typed_module.py").write_text("import sys\nPATH = list(sys.path)\n")
    before = list(sys.path)
    try:
        with permission.granted(permission.Permission(frozenset(["typed_module:PATH"]), folder=str(tmp_path))):
            path = import_object("typed_module:PATH", "model")
            with pytest.raises(ConfigError, match="--trust"):
                import_object("planted:Thing", "model")
    finally:
        sys.modules.pop("typed_module", None)
    assert path[-1] == str(tmp_path)
    assert sys.path == before


def test_files_named_like_optional_modules_are_not_imported(trained, tmp_path):
    """Libraries try modules such as numexpr; one of that name beside a run would be a stranger's code."""
    names = ("numexpr", "bottleneck", "pytz", "numba", "planted", "tabulate", "sitecustomize_", "torch_xla", "yaml_")
    for name in names:
        (tmp_path / f"{name}.py").write_text(PLANTED)
    shutil.copytree(trained, tmp_path / "run")
    environment = {**os.environ, "PYTHONPATH": str(Path(catalog.__file__).parents[2])}
    environment.pop("PYTHONSAFEPATH", None)
    for command in (["compare", "run"], ["list", "recipes"], ["figure", "overview", "run", "--out", "a.png"]):
        done = subprocess.run(
            [sys.executable, "-m", "overfit_lab", *command],
            capture_output=True,
            text=True,
            env=environment,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert not (tmp_path / "RAN").exists(), command


@pytest.mark.parametrize(
    ("text", "number"), [("12_3", "12_3"), ("7\n", "7"), ("--user=root", ""), ("1 2", ""), ("", ""), ("1\n--me", "")]
)
def test_a_job_of_a_received_sweep_is_a_number_to_slurm(text, number, tmp_path):
    job = CellJob("cell", tmp_path / "cell", {}, Resources())
    (tmp_path / "slurm" / "numbers").mkdir(parents=True)
    (tmp_path / "slurm" / "numbers" / "cell").write_text(text)
    assert slurm._number(job) == number
