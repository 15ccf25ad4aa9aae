"""`overfit-lab evaluate`, `check`, and what follows from them, as a user meets them."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from overfit_lab.cli.main import run
from overfit_lab.evaluation.outcome import load_outcome
from overfit_lab.models.mlp import MLP
from overfit_lab.models.spec import ModelSpec
from overfit_lab.models.weights import load_weights
from overfit_lab.records import layout
from overfit_lab.records.reader import Run

QUICK = ["--iterations", "8", "--queries", "40"]
LABEL = "autoattack-iter8-queries40"


@pytest.fixture
def trained(digits_run, tmp_path, monkeypatch):
    shutil.copytree(digits_run, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


def output(capfd, *arguments):
    """What a command prints on stdout; it must succeed."""
    status = run([str(argument) for argument in arguments])
    out, err = capfd.readouterr()
    assert status == 0, err
    return out


def complaint(capfd, *arguments):
    """The one line of a command that must fail with status 2."""
    status = run([str(argument) for argument in arguments])
    out, err = capfd.readouterr()
    assert (status, out) == (2, "")
    assert err.count("\n") == 1, err
    return err


def test_a_table_and_the_outcome_of_every_sample(trained, capfd):
    out = output(capfd, "evaluate", trained, "--attack", "pgd,autoattack", "--n", 60, *QUICK)
    assert "95% interval" in out
    assert "after fab-t" in out
    assert "pgd-20" in out
    for name in ("pgd-20", LABEL):
        outcome = load_outcome(layout.evaluation_path(trained, name, "test", 60, 16))
        assert outcome.complete
        assert f"{int(outcome.robust.sum())} of 60" in out


def test_json_holds_numbers_and_nothing_else(trained, capfd):
    rows = json.loads(output(capfd, "evaluate", trained, "--n", 60, "--restarts", 3, "--loss", "margin", "--json"))
    (row,) = rows
    assert row["attack"] == "pgd-20x3-margin"
    assert row["interval"][0] <= row["acc_adv"] <= row["interval"][1]
    assert row["acc_adv"] <= row["acc_clean"]
    assert row["settings"]["n_restarts"] == 3
    assert list(row["after"].values())[-1] == row["acc_adv"]


def test_several_checkpoints_feed_the_table(trained, capfd):
    """Natural, PGD-20 and AutoAttack at the best and the final checkpoint, from commands alone."""
    output(capfd, "evaluate", trained, "--attack", "autoattack", "--checkpoint", "best,final", "--n", 60, *QUICK)
    run_ = Run.open(trained)
    csv = output(capfd, "table", trained, "--attack", f"pgd-20,{LABEL}", "--format", "csv")
    assert LABEL in csv
    epochs = sorted(layout.epoch_of(layout.checkpoint_path(trained, name)) for name in ("best", "final"))
    values = [run_.value_at(epoch, "robustness", f"acc_adv/{LABEL}", "test", "adversarial") for epoch in epochs]
    frame = pd.read_csv(pd.io.common.StringIO(csv))
    numbers = {round(float(value), 6) for value in frame.to_numpy().ravel() if isinstance(value, float)}
    assert {round(100 * value, 6) for value in values} <= numbers


def test_a_transfer_from_an_earlier_checkpoint(trained, capfd):
    out = output(capfd, "evaluate", trained, "--attack", "transfer", "--source", f"{trained}@initial", "--n", 60)
    assert "transfer-run-initial-20" in out


def test_a_weights_file_gets_a_folder_that_tables_read(trained, tmp_path, capfd):
    state = load_weights(trained / "checkpoints" / "last.safetensors")
    torch.save({"model": {f"module.{name}": tensor for name, tensor in state.items()}}, tmp_path / "foreign.pth")
    options = ["--model", "mlp", "--data", "digits", "--set", "data.n_train=500", "--set", "data.n_test=797"]
    attack = ["--set", "attack.eps=0.1", "--set", "attack.step_size=0.025", "--n", 60]
    out = output(capfd, "evaluate", tmp_path / "foreign.pth", *options, *attack)
    (folder,) = (tmp_path / "runs").iterdir()
    assert str(folder.relative_to(tmp_path)) in out
    assert re.search(r"^ *imported +pgd-20 ", out, re.M)
    assert json.loads((folder / "run.json").read_text())["status"] == "imported"
    same = output(capfd, "evaluate", trained, "--n", 60, "--json")
    (own,) = json.loads(same)
    imported = load_outcome(layout.evaluation_path(folder, "pgd-20", "test", 60, None))
    assert imported.clean_accuracy == own["acc_clean"]
    assert imported.robust_accuracy == pytest.approx(own["acc_adv"], abs=0.07)
    assert folder.name in output(capfd, "table", folder)
    output(capfd, "evaluate", tmp_path / "foreign.pth", *options, *attack, "--attack", "square", "--queries", 20)
    assert len(list((tmp_path / "runs").iterdir())) == 1
    assert len(list((folder / "evaluations").iterdir())) == 2


def test_an_imported_file_has_no_epoch_wherever_one_is_shown(trained, capfd):
    shutil.copy(trained / "checkpoints" / "last.safetensors", "w.safetensors")
    file = ["w.safetensors", "--model", "mlp", "--data", "digits", "--n", 20]
    said = []
    for command in (
        ["evaluate", *file, "--out", "imp"],
        ["check", *file, "--only", "more-steps", "--out", "imp"],
        ["probe", *file, "--metric", "calibration,gradient-norm"],
        ["watch", "imp", "--once"],
        ["table", "imp"],
        ["diagnose", "imp"],
    ):
        assert run(list(map(str, command))) == 0
        said.append("".join(capfd.readouterr()))
    assert all("imported" in text for text in said)
    assert not [text for text in said if re.search(r"(?m)\bepoch \d|^ *100  |last epoch|final checkpoint", text)]
    for command in (["evaluate", *file, "--out", "imp"], ["probe", *file, "--metric", "calibration"]):
        rows = json.loads(output(capfd, *command, "--json"))
        assert rows
        assert {row["epoch"] for row in rows} == {None}
    lines = [json.loads(line) for line in Path("imp", "records.jsonl").read_text().splitlines()]
    assert {(line["epoch"], line["step"], line["origin"]) for line in lines} == {(None, None, "imported")}
    assert set(Run.open("imp").records["epoch"]) == {0}
    assert Run.open("imp").epochs_with_arrays("masking") == [0]
    assert "imp: holds imported weights, which have neither a best nor a last epoch" in complaint(
        capfd, "compare", "imp"
    )


def test_another_configuration_does_not_go_into_the_same_folder(trained, tmp_path, capfd):
    weights = trained / "checkpoints" / "last.safetensors"
    options = ["--model", "mlp", "--data", "digits", "--n", 20, "--out", tmp_path / "out"]
    output(capfd, "evaluate", weights, *options)
    line = complaint(capfd, "evaluate", weights, *options, "--set", "attack.eps=0.3")
    assert "these weights configured otherwise; give another --out" in line


def test_chance_accuracy_is_remarked(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.save(MLP(ModelSpec(10, (1, 8, 8))).state_dict(), "w.pt")
    out = output(capfd, "evaluate", "w.pt", "--model", "mlp", "--data", "digits", "--n", 100)
    assert "clean accuracy is about chance" in out


def test_check_prints_a_verdict_and_draws(trained, capfd):
    arguments = ["check", trained, "--n", 80, "--queries", 50, "--source", f"{trained}@best"]
    out = output(capfd, *arguments)
    assert "No sign of masked gradients: 10 checks passed" in out
    assert (trained / "masking.png").stat().st_size > 10_000
    rows = json.loads(output(capfd, *arguments, "--json"))
    assert rows[0]["suspicious"] == []
    assert {check["status"] for check in rows[0]["checks"]} == {"passed"}
    output(capfd, "figure", "masking", trained, "--out", "m.svg")


class Masked(nn.Module):
    """A network behind saturated logits, for the command line."""

    def __init__(self, n_classes, *, shape):
        super().__init__()
        self.inner = MLP(ModelSpec(n_classes, shape))

    def forward(self, x):
        return 1e4 * self.inner(x)


def test_check_catches_a_masked_file_and_strict_says_so_by_its_status(trained, tmp_path, capfd):
    state = load_weights(trained / "checkpoints" / "last.safetensors")
    torch.save({f"inner.{name}": tensor for name, tensor in state.items()}, tmp_path / "w.pt")
    options = ["--model", "test_evaluate_commands:Masked", "--data", "digits", "--set", "attack.eps=0.1"]
    arguments = ["check", tmp_path / "w.pt", *options, "--set", "model.normalize=data", "--n", 80, "--queries", 200]
    out = output(capfd, *arguments)
    assert "Suspicious: gradient-exists" in out
    assert run([str(argument) for argument in [*arguments, "--strict"]]) == 1
    assert "Suspicious" in capfd.readouterr()[0]


def test_check_of_one_thing_only_keeps_the_rest_of_the_picture(trained, capfd):
    output(capfd, "check", trained, "--n", 40, "--only", "restarts")
    output(capfd, "check", trained, "--n", 40, "--only", "deterministic")
    arrays = Run.open(trained).arrays("masking", 16)
    assert {"evidence-restarts", "evidence-deterministic"} <= set(arrays)


def test_weights_that_a_regularizer_keeps_are_attacked_by_name(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = ["--set", "epochs=6", "--set", "schedule.milestones=[2,4]", "--set", "regularizers=swa"]
    output(capfd, "train", "digits-hard", *settings, "--set", "probes.metrics=none", "--out", "run")
    found = {}
    for weights in ("raw", "swa"):
        (row,) = json.loads(output(capfd, "evaluate", "run", "--weights", weights, "--n", 100, "--json"))
        found[weights] = row
    assert found["swa"]["weights"] == "swa"
    assert found["swa"]["settings"]["model"] != found["raw"]["settings"]["model"]
    value = Run.open("run").value_at(6, "robustness@swa", "acc_adv/pgd-20", "test", "adversarial")
    assert value == found["swa"]["acc_adv"]
    assert {path.name for path in Path("run/evaluations").iterdir()} == {
        "pgd-20-test-100-0006.npz",
        "pgd-20@swa-test-100-0006.npz",
    }
    output(capfd, "check", "run", "--weights", "swa", "--only", "deterministic", "--n", 20)
    assert Run.open("run").arrays("masking@swa", 6)


def test_calibration_under_square_after_scaling(trained, capfd):
    arguments = ["--metric", "calibration", "--inputs", "adversarial,black-box", "--checkpoint", "best,final"]
    config = trained / "config.yaml"
    config.write_text(config.read_text().replace("n_queries: 5000", "n_queries: 30"))
    rows = json.loads(output(capfd, "probe", trained, *arguments, "--n", 100, "--json"))
    found = {(row["inputs"], row["field"]) for row in rows}
    assert {(i, f) for i in ("adversarial", "black-box") for f in ("ece", "ece_scaled", "temperature")} <= found
    out = output(capfd, "table", trained, "--kind", "calibration")
    assert "black-box (Square)" in out
    final = {(row["inputs"], row["field"]): row["value"] for row in rows if row["epoch"] == 16}
    assert f"{final['black-box', 'ece_scaled']:.3f}" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "{run}", "--attack", "pgdd"], "unknown attack 'pgdd'; did you mean pgd"),
        (["evaluate", "{run}", "--attack", ","], "--attack ',': expected one or more of"),
        (["evaluate", "{run}", "--attack", "gaussian-noise"], "is a noise; expected an attack"),
        (["evaluate", "{run}", "--attack", "transfer"], "--attack transfer needs --source"),
        (["evaluate", "{run}", "--source", "{run}"], "goes with --attack transfer"),
        (["evaluate", "{run}", "--attack", "transfer", "--source", "nowhere"], "source 'nowhere': no such run folder"),
        (["evaluate", "{run}", "--split", "val"], "split 'val' is empty or absent; this data has: train, test"),
        (["evaluate", "{run}", "--split", "dev"], "--split 'dev': expected train, val or test"),
        (["evaluate", "{run}", "--n", "0"], "--n 0: expected 1 or more"),
        (["evaluate", "{run}", "--eps", "a"], "evaluate.eps = 'a'"),
        (["evaluate", "{run}", "--eps", "-1"], "evaluate.eps = '-1'"),
        (["evaluate", "{run}", "--norm", "l3"], "evaluate.norm = 'l3'"),
        (["evaluate", "{run}", "--steps", "0"], "evaluate.n_steps = 0"),
        (["evaluate", "{run}", "--checkpoint", "99"], "no checkpoint '99'"),
        (["evaluate", "{run}", "--model", "mlp"], "--model goes with a weights file"),
        (["evaluate", "{run}", "--weights", "swa"], "weights 'swa': this run has raw"),
        (["evaluate", "nowhere"], "nowhere: no such weights file or run folder"),
        (["evaluate", "."], ".: not a run folder"),
        (["evaluate", "{run}/checkpoints/last.safetensors"], "a weights file needs --model NAME and --data NAME"),
        (["check", "{run}", "--only", "square,gradients"], "unknown check 'gradients'"),
        (["check", "{run}", "--queries", "0"], "--queries 0: expected 1 or more"),
        (["check", "{run}", "--picture", "x.gif"], "x.gif: expected a file ending in .png, .pdf or .svg"),
        (["check", "{run}", "--split", "dev"], "--split 'dev': expected"),
        (["probe", "{run}", "--metric", "calibration", "--inputs", "clean,dark"], "--inputs 'clean,dark': expected"),
    ],
)
def test_bad_input_is_one_line(trained, capfd, arguments, message):
    assert message in complaint(capfd, *(argument.replace("{run}", str(trained)) for argument in arguments))
    assert not (trained / "evaluations").exists() or not list((trained / "evaluations").iterdir())


def test_a_busy_folder_is_named(trained, capfd):
    from overfit_lab.records.writer import RunWriter

    with RunWriter.reopen(trained):
        assert "another process is writing to it" in complaint(capfd, "evaluate", trained, "--n", 10)


def command(*arguments):
    return [sys.executable, "-m", "overfit_lab", *map(str, arguments)]


@pytest.mark.slow
def test_a_killed_autoattack_goes_on_to_the_same_outcome(trained, tmp_path, capfd):
    """Stopped by Ctrl-C, then killed for good, each in the middle; the same command ends as if nothing had been."""
    shutil.copytree(trained, tmp_path / "whole")
    options = ["--attack", "autoattack", "--n", 240, "--batch-size", 8, "--iterations", 10, "--queries", 200]
    path = layout.evaluation_path(trained, "autoattack-iter10-queries200", "test", 240, 16)
    partial = path.with_name(f".{path.name}.begun")
    seen = (0, 0)
    for how, status in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        process = start("evaluate", trained, *options)
        deadline = time.monotonic() + 120
        while progress(partial) <= seen and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert progress(partial) > seen, "it was done before it could be stopped"
        process.send_signal(how)
        _, err = process.communicate(timeout=60)
        assert process.returncode == status
        if how == signal.SIGINT:
            line = err.decode().rstrip().splitlines()[-1]
            assert line == "overfit-lab: interrupted; the same command goes on where it was"
        seen = progress(partial)
        assert not load_outcome(partial).complete
    for folder in (trained, tmp_path / "whole"):
        output(capfd, "evaluate", folder, *options)
    resumed, whole = (load_outcome(folder / "evaluations" / path.name) for folder in (trained, tmp_path / "whole"))
    assert (resumed.broken_by == whole.broken_by).all()
    assert (resumed.logits == whole.logits).all()
    assert not partial.exists()


EAGER = "import overfit_lab.evaluation.run as r; r.SAVE_EVERY = 0; from overfit_lab.cli.main import main; main()"
"""The command line, saving after every batch, so that there is something to stop also on a fast machine."""


def start(*arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", EAGER, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, preexec_fn=heed_interrupts)


def heed_interrupts():
    """A process that a shell started in the background ignores SIGINT, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def progress(partial):
    """Stage and samples done of it, as the file of an interrupted evaluation says."""
    if not partial.is_file():
        return (0, 0)
    outcome = load_outcome(partial)
    return outcome.stage, outcome.done


def test_an_interruption_anywhere_else_is_one_line(monkeypatch, capfd):
    """The status was once 130 and nothing said why."""

    def stop(kind):
        raise KeyboardInterrupt

    monkeypatch.setattr("overfit_lab.cli.listing.entries", stop)
    assert run(["list", "models"]) == 130
    assert capfd.readouterr()[1] == "overfit-lab: interrupted\n"
