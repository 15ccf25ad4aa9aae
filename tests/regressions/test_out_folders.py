"""Where the command line writes: never beside ``runs/`` by a file's word, and never after work that was in vain."""

import subprocess
import sys

import pytest
import yaml

from overfit_lab.cli.main import run
from overfit_lab.config import RunConfig, parse_config, to_dict
from overfit_lab.errors import ConfigError
from tiny import tiny_config


@pytest.mark.parametrize("name", ["../../evil", "/evil", "a/b", "..", ".hidden", "-x", "two words", "line\n", "", "ü"])
def test_a_files_name_cannot_lead_out_of_runs(name, tmp_path, monkeypatch, capfd):
    """``name: ../../evil`` once made the default run folder lie anywhere."""
    with pytest.raises(ConfigError, match="name = "):
        parse_config({"name": name})
    below = tmp_path / "a" / "b" / "c"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    (below / "evil.yaml").write_text(yaml.safe_dump({**to_dict(tiny_config(epochs=1)), "name": name}))
    assert run(["train", "evil.yaml"]) == 2
    err = capfd.readouterr()[1]
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["evil.yaml"]


@pytest.mark.parametrize("name", ["run", "paper-cifar10-sglr", "v1.2_b", "0"])
def test_plain_names_are_taken(name):
    assert RunConfig(name=name).name == name


COMMANDS = [
    ["demo"],
    ["train", "digits-hard"],
    ["train", "digits-hard", "--seeds", "2"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("where", ["file/below/out", "/proc/overfit-lab/out"])
def test_a_place_that_cannot_be_written_to_is_refused_before_any_work(command, where, tmp_path, monkeypatch, capfd):
    """The demo started its workers, each of which failed with lines of its own."""
    if where.startswith("/proc") and not sys.platform.startswith("linux"):
        pytest.skip("no /proc here")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("keep")
    monkeypatch.setattr("overfit_lab.training.run.build", None)
    monkeypatch.setattr("overfit_lab.processes.pool.run_jobs", None)
    assert run([*command, "--out", where]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert where.removesuffix("/out") in err
    assert [path.name for path in tmp_path.rglob("*")] == ["file"]


SHADOWS = ("torch", "yaml", "socket", "random", "json")


def test_files_in_the_current_folder_do_not_stand_in_for_libraries(tmp_path):
    """A ``torch.py`` beside a stranger's run was imported, that is, executed, in place of torch."""
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text(f"open('ran-{name}', 'w').close()\n")
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n\n\ndef net(n_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, n_classes))\n"
    )
    arguments = ["train", "digits-hard", "--set", "model.name=mine:net", "--set", "probes.metrics=none"]
    arguments += ["--set", "epochs=1", "--set", "data.n_train=32", "--set", "evaluation.n_steps=1"]
    code = "import sys; from overfit_lab.cli.main import main; main(sys.argv[1:])"
    for out in (["--out", "run"], ["--seeds", "2", "--out", "grid", "--device", "cpu"]):
        command = [sys.executable, "-P", "-W", "ignore", "-c", code, *arguments, *out]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert not list(tmp_path.glob("ran-*"))
    assert len(list((tmp_path / "grid").glob("seed?-*/run.json"))) == 2


@pytest.mark.parametrize("out", [".", "../here"])
def test_the_current_folder_is_refused_in_one_line(out, tmp_path, monkeypatch, capfd):
    """It once ended as an unexpected ValueError: a folder without a name has no neighbour to begin in."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert run(["train", "digits-hard", "--out", out, "--device", "cpu"]) == 2
    assert "is the current folder" in capfd.readouterr()[1]
    assert not list((tmp_path / "here").iterdir())
