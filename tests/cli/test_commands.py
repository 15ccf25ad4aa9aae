"""The command line as a user meets it: results, exit statuses, and one line for bad input."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from overfit_lab.cli.main import run
from overfit_lab.config import to_yaml
from overfit_lab.config.recipes import RECIPES
from overfit_lab.models.weights import load_weights
from overfit_lab.records.reader import Run
from tiny import METRICS, tiny_config

KEYS = ["epoch", "step", "probe", "field", "split", "inputs", "value", "stderr", "n", "seconds"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    (folder / "tiny.yaml").write_text(to_yaml(tiny_config()))
    assert run(["train", str(folder / "tiny.yaml"), "--out", str(folder / "run"), "--device", "cpu"]) == 0
    return folder / "run"


def test_train_says_where_and_how_far(tmp_path, capfd):
    (tmp_path / "tiny.yaml").write_text(to_yaml(tiny_config()))
    arguments = ["train", str(tmp_path / "tiny.yaml"), "--set", "epochs=2", "--set", "probes.metrics=none"]
    assert run([*arguments, "--out", str(tmp_path / "run"), "--device", "cpu"]) == 0
    out, err = capfd.readouterr()
    assert f"completed: {tmp_path / 'run'}" in out
    assert "epoch 2/2" in err
    assert "robust test" in err


@pytest.mark.parametrize("metric", METRICS)
def test_probe_prints_one_json_array_of_records_and_nothing_else(trained, capfd, metric):
    assert run(["probe", str(trained), "--metric", metric, "--json", "--device", "cpu"]) == 0
    out, _ = capfd.readouterr()
    rows = json.loads(out)
    assert rows
    for row in rows:
        assert set(KEYS) <= set(row)
        assert row["probe"] == metric
        assert row["epoch"] == 4
        undecided = (metric, row["field"]) == ("phases", "overfits")  # of four epochs there is nothing to tell
        best_at_a_limit = row["field"] == "temperature" and row["value"] is None  # where logits say nothing
        assert row["value"] is None if undecided or best_at_a_limit else isinstance(row["value"], float)


def test_probe_takes_several_metrics_a_checkpoint_a_split_and_inputs(trained, capfd):
    command = ["probe", str(trained), "--metric", "iiw,calibration", "--checkpoint", "2", "--json", "--no-save"]
    assert run([*command, "--split", "test", "--inputs", "adversarial", "--set", "iiw.layers=false"]) == 0
    rows = json.loads(capfd.readouterr()[0])
    assert {row["probe"] for row in rows} == {"iiw", "calibration"}
    assert {(row["epoch"], row["split"], row["inputs"]) for row in rows} == {(2, "test", "adversarial")}
    assert not [row for row in rows if row["field"].startswith("layer")]


def test_probe_of_all_checkpoints_feeds_a_figure(trained, tmp_path, capfd):
    assert run(["probe", str(trained), "--metric", "gradient-norm,iiw", "--checkpoint", "all"]) == 0
    assert "gradient-norm" in capfd.readouterr()[0]
    assert sorted(Run.open(trained).series("iiw", "iiw", "train", "clean")["epoch"]) == [0, 1, 2, 3, 4]
    for name in ("fig1", "overview"):
        path = tmp_path / f"{name}.svg"
        assert run(["figure", name, str(trained), "--out", str(path)]) == 0
        assert path.read_text().startswith("<?xml")


def test_probe_of_a_weights_file_equals_the_run(trained, tmp_path, capfd):
    """The same weights, loaded from a plain state dict, measured on the same data."""
    state = load_weights(trained / "checkpoints" / "last.safetensors")
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "w.pth")
    torch.save(load_weights(trained / "checkpoints" / "initial.safetensors"), tmp_path / "start.pt")
    data = Run.open(trained).config.data
    sets = [f"data.{key}={getattr(data, key)}" for key in ("n_train", "n_val", "n_test")]
    sets += ["data.noise.kind=symmetric-flip", "data.noise.rate=0.3", "model.hidden=16", "evaluation.chunk=24"]
    sets += ["attack.eps=0.1", "attack.step_size=0.025", "evaluation.n_steps=3", "epochs=4"]
    flags = [part for assignment in sets for part in ("--set", assignment)]
    common = ["--metric", "calibration,iiw", "--json", "--n", "40", "--device", "cpu"]
    reference = ["--model", "mlp", "--data", "digits", "--reference", str(tmp_path / "start.pt")]
    assert run(["probe", str(tmp_path / "w.pth"), *common, *reference, *flags]) == 0
    out, err = capfd.readouterr()
    weights = json.loads(out)
    assert f"data {Run.open(trained).info['data']['read_as']}" in err
    assert run(["probe", str(trained), *common, "--no-save"]) == 0
    own = json.loads(capfd.readouterr()[0])
    key = lambda row: (row["probe"], row["field"], row["split"], row["inputs"])  # noqa: E731
    assert {key(row): row["value"] for row in weights} == {key(row): row["value"] for row in own}


def test_compare_in_every_format(trained, capfd):
    for style in ("table", "markdown", "latex", "csv", "json"):
        assert run(["compare", str(trained), "--format", style]) == 0
        assert "sglr" in capfd.readouterr()[0]


def test_config_prints_what_train_takes_back(tmp_path, capfd):
    for name in RECIPES:
        assert run(["config", name]) == 0
        text = capfd.readouterr()[0]
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        assert run(["config", str(path)]) == 0
        assert capfd.readouterr()[0] == text
    assert yaml.safe_load(text)["labels"]["r"] == 0.2


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("recipes", ["digits-sglr", "paper-cifar10-hard"]),
        ("models", ["preact-resnet18", "wrn-34-10", "mlp"]),
        ("datasets", ["digits", "cifar10", "parquet", "imagefolder"]),
        ("attacks", ["pgd"]),
        ("objectives", ["pgd-at", "standard"]),
        ("labels", ["hard", "smooth", "sglr"]),
        ("schedules", ["piecewise", "cosine"]),
        ("metrics", METRICS),
        ("figures", ["fig1", "fig5", "calibration", "overview"]),
    ],
)
def test_list(kind, names, capfd):
    assert run(["list", kind]) == 0
    lines = capfd.readouterr()[0].splitlines()
    for name in names:
        (line,) = [line for line in lines if line.split(" ")[0] == name]
        assert len(line.split()) > 3, "each has a description"


BAD = [
    ([], "Missing command"),
    (["frobnicate"], "frobnicate"),
    (["train"], "Missing argument"),
    (["train", "digits-herd"], "did you mean digits-hard"),
    (["train", "digits-hard", "--frob"], "--frob"),
    (["train", "digits-hard", "--set", "labls.r=1"], "did you mean labels"),
    (["train", "digits-hard", "--set", "labels.r=1"], "no options here"),
    (["train", "digits-smooth", "--set", "labels.r=2"], "labels.r = 2"),
    (["train", "digits-hard", "--set", "labels.name=sgrl"], "did you mean sglr"),
    (["train", "digits-hard", "--set", "model.name=resnet19"], "did you mean resnet18"),
    (["train", "digits-hard", "--set", "model.name=no.module:f"], "cannot import"),
    (["train", "digits-hard", "--set", "model.hiden=3"], "did you mean hidden"),
    (["train", "digits-hard", "--set", "model.name=json:loads"], "model"),
    (["train", "digits-hard", "--set", "attack.eps=8/0"], "8/0"),
    (["train", "digits-hard", "--set", "attack.eps=-1"], "attack.eps"),
    (["train", "digits-hard", "--set", "attack.norm=l7"], "attack.norm = 'l7'"),
    (["train", "digits-hard", "--set", "attack.name=pdg"], "did you mean pgd"),
    (["train", "digits-hard", "--set", "epochs"], "key=value"),
    (["train", "digits-hard", "--set", "data.n_train=99999"], "only"),
    (["train", "digits-hard", "--set", "data.name=cifar10", "--set", "data.root=."], "overfit-lab data fetch cifar10"),
    (["train", "digits-hard", "--set", "probes.metrics=iwi"], "did you mean iiw"),
    (["train", "digits-hard", "--set", "probes.options.iiw.layer=1"], "did you mean layers"),
    (["train", "digits-hard", "--set", "schedule.milestones=half"], "neither an epoch"),
    (["train", "digits-hard", "--device", "tpu"], "expected auto, cpu or cuda"),
    (["train", "nowhere.yaml"], "nowhere.yaml"),
    (["train", "."], "unknown recipe"),
    (["train", "digits-hard", "--resume", "--out", "nowhere"], "no such run folder"),
    (["train", "digits-hard", "--out", "occupied"], "occupied"),
    (["train", "digits-hard", "--out", "file"], "file"),
    (["probe", "nowhere", "--metric", "iiw"], "nowhere"),
    (["probe", "occupied", "--metric", "iiw"], "not a run folder"),
    (["probe", "occupied", "--metric", "iwi"], "did you mean iiw"),
    (["probe", "occupied", "--metric", ","], "expected one or more"),
    (["probe", "occupied", "--metric", "iiw", "--split", "tset"], "--split 'tset'"),
    (["probe", "occupied", "--metric", "iiw", "--inputs", "dirty"], "--inputs 'dirty'"),
    (["probe", "occupied", "--metric", "iiw", "--n", "0"], "0"),
    (["probe", "occupied"], "--metric"),
    (["probe", "file", "--metric", "iiw"], "needs --model NAME and --data NAME"),
    (["probe", "file", "--metric", "ece", "--model", "mlp", "--data", "digits"], "unknown metric 'ece'"),
    (["probe", "file", "--metric", "iiw", "--model", "mlp", "--data", "digits"], "expected a file ending in"),
    (["figure", "fig9", "occupied"], "did you mean"),
    (["figure", "fig1", "occupied"], "holds no run"),
    (["figure", "fig1", "nowhere"], "no such run folder"),
    (["figure", "fig1", "occupied", "--out", "a.gif"], ".png, .pdf or .svg"),
    (["figure", "fig1", "occupied", "--out", "none/a.png"], "no such folder"),
    (["compare", "nowhere"], "nowhere"),
    (["compare", "occupied", "--format", "html"], "unknown format 'html'"),
    (["list", "labls"], "did you mean labels"),
    (["config", "digits-sgrl"], "did you mean digits-sglr"),
    (["data", "fetch", "mnst"], "did you mean mnist"),
    (["data", "fetch", "digits"], "needs no download"),
    (["data"], "Missing command"),
    (["demo", "--out", "occupied"], "not empty"),
    (["demo", "--seed", "-1"], "-1"),
]


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("arguments", "message"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_bad_input_is_one_line_and_status_2_and_leaves_nothing(arguments, message, tmp_path, monkeypatch, capfd):
    (tmp_path / "occupied").mkdir()
    (tmp_path / "occupied" / "theirs.txt").write_text("keep")
    (tmp_path / "file").write_text("keep")
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    assert run(arguments) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("overfit-lab: ")
    assert err.count("\n") == 1
    assert message in err
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--checkpoint", "9"], "no checkpoint '9'; it has: initial, best, last, 1, 2, 3, 4"),
        (["--checkpoint", "worst"], "expected best, final, initial, all or an epoch"),
        (["--model", "mlp"], "goes with a weights file"),
        (["--set", "r=1"], "METRIC.option=value"),
        (["--set", "iiw.layer=1"], "did you mean layers"),
    ],
)
def test_bad_questions_about_a_run(trained, arguments, message, capfd):
    assert run(["probe", str(trained), "--metric", "iiw", *arguments]) == 2
    err = capfd.readouterr()[1]
    assert message in err
    assert err.count("\n") == 1


def test_an_unexpected_error_is_one_line_too(trained, monkeypatch, capfd):
    def broken(*_, **__):
        raise ZeroDivisionError("some\nthing")

    monkeypatch.setattr("overfit_lab.records.summary.compare", broken)
    assert run(["compare", str(trained)]) == 1
    err = capfd.readouterr()[1]
    assert err == "overfit-lab: unexpected ZeroDivisionError: some thing (OVERFIT_LAB_DEBUG=1 shows where)\n"
    monkeypatch.setenv("OVERFIT_LAB_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run(["compare", str(trained)])


def test_a_strangers_model_in_the_current_folder(tmp_path):
    (tmp_path / "mymodels.py").write_text(
        "from torch import nn\n\n\ndef tiny(n_classes, hidden: int = 4):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, n_classes))\n"
    )
    (tmp_path / "tiny.yaml").write_text(to_yaml(tiny_config("hard")))
    changes = ["model.name=mymodels:tiny", "model.hidden=6", "model.penultimate='3'", "epochs=1"]
    flags = [part for change in changes for part in ("--set", change)]
    command = [sys.executable, "-m", "overfit_lab", "train", "tiny.yaml", "--out", "run", *flags]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = Run.open(tmp_path / "run")
    assert found.config.model.options == {"hidden": 6, "penultimate": "3"}
    assert set(found.records["probe"]) == {*METRICS, "training", "evaluation"}


def test_code_named_in_a_file_is_not_run_without_the_users_word(trained, tmp_path, monkeypatch, capfd):
    """A stranger's YAML or run folder could name any importable callable, with arguments of its choice."""
    (tmp_path / "evil.py").write_text(
        "from pathlib import Path\n\n\ndef net(mark: str = ''):\n    Path(mark).write_text('ran')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns(".lock"))
    mark = tmp_path / "mark"
    config = tiny_config("hard", model={"name": "evil:net", "mark": str(mark)})
    (tmp_path / "run" / "config.yaml").write_text(to_yaml(config))
    (tmp_path / "evil.yaml").write_text(to_yaml(config))
    commands = [
        ["train", "evil.yaml", "--out", "new"],
        ["config", "evil.yaml"],
        ["probe", "run", "--metric", "iiw"],
        ["figure", "overview", "run"],
        ["compare", "run"],
    ]
    for command in commands:
        status = run(command)
        err = capfd.readouterr()[1]
        if command[0] in ("figure", "compare"):
            assert status == 0, "drawing records needs no code"
        else:
            assert status == 2
            assert "model.name = 'evil:net'" in err
            assert "--trust" in err
        assert not mark.exists()
        assert not (tmp_path / "new").exists()
    assert run(["train", "evil.yaml", "--out", "new", "--trust"]) == 2
    assert "expected a torch.nn.Module" in capfd.readouterr()[1]
    assert mark.read_text() == "ran"


def test_a_probe_that_cannot_be_fed_is_refused_before_anything_is_made(tmp_path, monkeypatch, capfd):
    (tmp_path / "plain.py").write_text(
        "from torch import nn\n\n\ndef net(n_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, n_classes))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    base = ["train", "digits-hard", "--out", "run"]
    for changes, message in (
        (["model.name=plain:net"], "model.penultimate"),
        (["model.name=plain:net", "model.penultimate=head"], "unknown layer 'head'"),
        (["probes.splits=val"], "'val' is empty or absent"),
        (["evaluation.n_steps=0", "probes.inputs=adversarial"], "adversarial inputs need an attack"),
    ):
        assert run([*base, *(part for change in changes for part in ("--set", change))]) == 2
        assert message in capfd.readouterr()[1]
        assert not (tmp_path / "run").exists()


def heed_interrupts():
    """A process that a shell started in the background ignores SIGINT, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
def test_interrupt_leaves_a_resumable_run_and_status_130(tmp_path):
    config = tiny_config(epochs=400, probes={"metrics": []}, checkpoint={"every": 0})
    (tmp_path / "tiny.yaml").write_text(to_yaml(config))
    command = [sys.executable, "-m", "overfit_lab", "train", "tiny.yaml", "--out", "run"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env={**os.environ}, preexec_fn=heed_interrupts
    )
    records: Path = tmp_path / "run" / "records.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (records.exists() and records.stat().st_size > 5000):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command with --resume goes on" in err
    assert "Traceback" not in err
    found = Run.open(tmp_path / "run")
    assert found.info["status"] == "interrupted"
    assert 0 < found.info["epoch"] < 400
