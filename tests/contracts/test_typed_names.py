"""What counts as typed: a name of code that the user wrote, and nothing that merely looks like one.

Each case has a module in the current folder, and a file that names it by a text that also stands in the command line.
The module must not be executed.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from overfit_lab.cli.main import run
from overfit_lab.config import RunConfig, catalog, load_config, permission, to_dict
from overfit_lab.config.recipes import recipe
from overfit_lab.config.registry import Registry, import_object
from overfit_lab.errors import ConfigError
from overfit_lab.sweeps.spec import load_spec
from overfit_lab.training.complete import complete
from tiny import tiny_config

CODE = "import pathlib\npathlib.Path(__file__).with_name('RAN').touch()\n\n\nclass Thing:\n    pass\n"
MODULES = ("planted", "imagefolder", "train", "mlp", "node1")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The modules, in the current folder, which is on no search path."""
    for name in MODULES:
        (tmp_path / f"{name}.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    return tmp_path


def content(**parts):
    probes = {"every": 1, "metrics": ["confidence"], "n": 8}
    config = complete(tiny_config("hard", epochs=1, probes=probes, schedule={"name": "constant"}))
    return {**to_dict(config), **parts}


@pytest.mark.parametrize(
    ("part", "typed"),
    [
        ({"labels": {"name": "imagefolder:images"}}, ["--set", "data.name=imagefolder:images"]),
        ({"labels": {"name": "mlp:Thing"}}, ["--set", "model.name=mlp:Thing"]),
        ({"model": {"name": "train:trades"}}, ["--set", "labels={name: kd, teacher: 'train:trades'}"]),
        ({"labels": {"name": "node1:29500"}}, ["--rendezvous", "node1:29500"]),
        ({"labels": {"name": "mlp:Thing"}}, ["--seeds", "1", "--jobs", "1"]),
        ({"labels": {"name": "planted:Thing"}}, ["--set", "labels.teacher=not.planted:Thing"]),
        ({"labels": {"name": "planted:Thing"}}, ["--set", "name=planted"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_typed_for_something_else_allows_no_code(part, typed, folder, capsys):
    (folder / "a.yaml").write_text(yaml.safe_dump(content(**part)))
    assert run(["train", "a.yaml", *typed, "--out", "run"]) == 2
    assert not (folder / "RAN").exists()
    assert not (folder / "run").exists()
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_file_named_like_code_allows_none(folder, capsys):
    """A shell writes the names of a stranger's files into the command line, in place of a star."""
    (folder / "a.yaml").write_text(yaml.safe_dump(content()))
    assert run(["train", "a.yaml", "--out", "planted:Thing"]) == 0
    (folder / "planted:Thing" / "config.yaml").write_text(yaml.safe_dump(content(model={"name": "planted:Thing"})))
    for command in (
        ["probe", "planted:Thing", "--metric", "confidence"],
        ["evaluate", "planted:Thing", "--attack", "pgd", "--n", "4"],
        ["train", "a.yaml", "--resume", "--out", "planted:Thing"],
        ["compare", "planted:Thing"],
    ):
        assert run(command) in (0, 2)
        assert not (folder / "RAN").exists(), command
    assert "--trust" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["planted:1", "planted:a.b", "planted:", "a:planted:Thing", "./planted:Thing"])
@pytest.mark.parametrize("everything", [False, True])
def test_what_is_no_name_of_code_is_imported_for_nobody(name, everything, folder):
    with (
        permission.granted(permission.Permission(frozenset([name]), everything, str(folder))),
        pytest.raises(ConfigError, match="expected a name, or package"),
    ):
        import_object(name, "model")
    assert not (folder / "RAN").exists()


MINE = """
from overfit_lab.methods.labels.hard import Hard as Mine


def recipe():
    return {"name": "mine", "epochs": 1, "labels": {"name": "typed_here:Mine"}}
"""


@pytest.fixture
def mine(folder):
    """A module of the user's own."""
    (folder / "typed_here.py").write_text(MINE)
    yield
    sys.modules.pop("typed_here", None)


def test_a_typed_recipe_may_name_what_lies_beside_it(mine, capsys):
    with permission.granted(permission.NOTHING):
        assert run(["config", "typed_here:recipe"]) == 0
    assert "typed_here:Mine" in capsys.readouterr().out
    with permission.granted(permission.NOTHING), pytest.raises(ConfigError, match="--trust"):
        recipe("typed_here:recipe")


@pytest.mark.parametrize(
    "how",
    [
        ["train", "a.yaml", "--set", "labels.name=typed_here:Mine", "--out", "run"],
        ["train", "trusted.yaml", "--trust", "--out", "run"],
        ["train", "a.yaml", "--grid", "labels.name=hard,typed_here:Mine", "--jobs", "2", "--out", "run"],
        ["train", "a.yaml", "--set", "labels.name=typed_here:Mine", "--devices", "2", "--out", "run"],
        ["sweep", "run", "trusted-sweep.yaml", "--trust", "--jobs", "2", "--out", "run"],
    ],
    ids=" ".join,
)
def test_what_is_typed_or_trusted_is_imported_in_every_process(how, mine, folder):
    (folder / "a.yaml").write_text(yaml.safe_dump(content()))
    (folder / "trusted.yaml").write_text(yaml.safe_dump(content(labels={"name": "typed_here:Mine"})))
    (folder / "trusted-sweep.yaml").write_text(
        yaml.safe_dump({"base": "trusted.yaml", "seeds": 2, "device": "cpu", "grid": {"batch_size": [32]}})
    )
    before = list(sys.path)
    assert run([*how, *([] if "sweep" in how else ["--device", "cpu"])]) == 0
    assert sys.path == before
    if "--trust" in how:
        assert run([part for part in how if part != "--trust"]) == 2


@pytest.fixture
def in_python():
    """What holds where no command runs."""
    with permission.granted(permission.Permission(in_python=True, folder=os.getcwd())):
        yield


def test_names_from_python_are_the_users_own(mine, in_python):
    assert catalog.LABELS["typed_here:Mine"].__name__ == "Hard"
    assert complete(RunConfig(labels={"name": "typed_here:Mine"})).labels.name == "typed_here:Mine"


@pytest.mark.parametrize("name", ["planted:Thing", "train:planted:Thing"])
def test_names_that_were_read_are_not_though_python_runs(name, in_python, folder):
    (folder / "a.yaml").write_text(yaml.safe_dump(content(labels={"name": "kd", "teacher": name})))
    load_config(folder / "a.yaml")
    with pytest.raises(ConfigError, match="--trust"):
        catalog.OBJECTIVES["planted:Thing"]
    sweep_file(folder, log=["train:other:Thing"])
    load_spec(folder / "s.yaml")
    with pytest.raises(ConfigError, match="--trust"):
        catalog.SINKS["other:Thing"]
    assert not (folder / "RAN").exists()
    assert permission.current().read >= {name, "train:other:Thing"}


def test_a_configuration_that_passes_through_json_allows_nothing(in_python):
    text = RunConfig().model_dump_json().replace('"pgd-at"', '"planted:Thing"')
    with permission.granted(permission.NOTHING):
        assert RunConfig.model_validate_json(text).objective.name == "planted:Thing"
        assert not permission.current().covers("planted:Thing")


def test_only_one_place_makes_a_configuration_of_content():
    package = Path(permission.__file__).parents[1]
    places = [path.name for path in package.rglob("*.py") if "RunConfig.model_validate(" in path.read_text()]
    assert places == ["files.py"]


def test_what_was_read_is_imported_once_the_user_writes_it(mine, in_python, folder):
    (folder / "a.yaml").write_text(yaml.safe_dump(content(labels={"name": "typed_here:Mine"})))
    config = load_config(folder / "a.yaml")
    with pytest.raises(ConfigError, match="--trust"):
        complete(config)
    permission.allow("typed_here:Mine")
    assert complete(config).labels.name == "typed_here:Mine"


def sweep_file(folder, **keys):
    (folder / "s.yaml").write_text(yaml.safe_dump({"name": "s", "base": "digits-hard", "backend": "slurm", **keys}))


def test_a_line_of_shell_is_not_typed_by_a_path_that_holds_it(folder, capsys):
    sweep_file(folder, backends={"slurm": {"setup": ["./s"]}})
    assert run(["sweep", "run", "./s.yaml", "--out", "o"]) == 2
    assert "backends.slurm.setup" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["[module load cuda]", "[]"])
def test_a_typed_line_of_shell_needs_no_trust(value, folder, capsys):
    sweep_file(folder)
    assert run(["sweep", "run", "s.yaml", "--out", "o", "--option", f"setup={value}"]) == 2
    assert "--trust" not in capsys.readouterr().err  # what is missing is sbatch, or submitit


@pytest.mark.parametrize("name", ["a\ntouch RAN #", "../a", "a/b", "..", ""])
def test_a_sweeps_name_is_that_of_a_folder(name, folder, capsys):
    sweep_file(folder, name=name)
    assert run(["sweep", "run", "s.yaml"]) == 2
    assert "name = " in capsys.readouterr().err


def test_slurm_is_given_no_line_break_and_a_python_that_searches_no_folder(folder, monkeypatch):
    slurm = pytest.importorskip("overfit_lab.sweeps.backends.slurm")
    submitit = pytest.importorskip("submitit")
    from overfit_lab.sweeps.spec import Resources
    from overfit_lab.sweeps.work import CellJob

    seen = {}

    def submit(self, batches):
        seen.update(self.parameters, command=self._submitit_command_str)
        raise subprocess.CalledProcessError(1, "sbatch")

    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", staticmethod(lambda: 2))
    monkeypatch.setattr(submitit.SlurmExecutor, "_internal_process_submissions", submit)
    backend = slurm.SlurmBackend(slurm.SlurmBackend.Options(), None)
    job = CellJob("cell", folder / "a\ntouch RAN #" / "cell", {}, Resources())
    with pytest.raises(Exception, match="sbatch refused"):
        backend._array([job], folder / "slurm")
    assert seen["job_name"] == "a-touch-RAN--"
    assert " -P -u -m submitit" in seen["command"]


def test_ray_searches_no_folder_that_this_process_does_not(monkeypatch):
    ray = pytest.importorskip("ray")
    from overfit_lab.sweeps.backends.ray import RayBackend

    seen = {}

    def init(**given):
        given["job_config"]._py_driver_sys_path.extend(["/nowhere", sys.path[-1]])  # as Ray does, see its worker.py
        seen["paths"] = list(given["job_config"]._py_driver_sys_path)
        raise ConnectionError

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ConfigError, match="ray"), RayBackend(RayBackend.Options(), None)._cluster():
        pass
    assert seen["paths"] == [sys.path[-1]]


def test_every_registry_says_whether_its_names_take_arguments():
    """A new one whose names do, and does not say so, would take what follows a typed colon for code."""
    import inspect

    for name, registry in vars(catalog).items():
        if isinstance(registry, Registry):
            with_argument = [key for key in registry if "argument" in parameters(inspect, registry[key])]
            assert not with_argument or name in ("DATASETS", "MODELS"), name


def parameters(inspect, component):
    try:
        return inspect.signature(component).parameters
    except (TypeError, ValueError):
        return {}
