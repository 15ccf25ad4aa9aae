"""What a run says of itself and goes on: infinite gradients, probabilities for logits, drops that are not reached."""

import pytest
import torch
from torch import nn

from overfit_lab.cli.main import run
from overfit_lab.errors import ConfigError
from overfit_lab.evaluation.attackers import AttackOptions, make_attacker
from overfit_lab.evaluation.run import evaluate
from overfit_lab.models.fitness import gives_probabilities
from overfit_lab.monitor.monitor import Monitor
from overfit_lab.records import layout
from overfit_lab.records.reader import Run
from overfit_lab.training.build import build
from overfit_lab.training.run import train_run
from tiny import tiny_config


class Rooted(nn.Module):
    """A root of each pixel, in which black ones have an infinite gradient; ends in a softmax where asked to."""

    def __init__(self, n_classes: int = 10, *, softmax: bool = False):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, n_classes), *[nn.Softmax(1)] * softmax)

    def forward(self, x):
        return self.layers(x.sqrt())


def config_of(softmax=False, **changes):
    model = {"name": "training.test_doubts:Rooted", "softmax": softmax}
    settings = {"epochs": 1, "probes": {}, "model": model, "schedule": "constant", "compute": {"fold": False}}
    return tiny_config("hard", **{**settings, **changes})


def test_gradients_that_are_not_finite_are_said_and_recorded(tmp_path):
    notes = []
    train_run(config_of(epochs=2), tmp_path / "run", device="cpu", on_note=notes.append)
    rows = Run.open(tmp_path / "run").series("training", "gradients_not_finite")
    assert (rows["value"] > 0).all()
    assert len(notes) == 1
    assert "epoch 1: " in notes[0]
    assert "not finite" in notes[0]


def test_an_evaluation_counts_them_and_leaves_every_image_an_image():
    session = build(config_of(attack={"norm": "l2", "eps": 0.5}), torch.device("cpu"))
    outcome = evaluate(session.snapshot(), make_attacker("pgd", session.config, AttackOptions(n_steps=3)), n=20)
    assert 0 < outcome.not_finite <= 3 * 20
    assert torch.from_numpy(outcome.logits).isfinite().all()


def test_a_network_that_gives_probabilities_is_said_to(tmp_path):
    notes = []
    train_run(config_of(softmax=True), tmp_path / "run", device="cpu", on_note=notes.append)
    assert sum("ends in a softmax" in note for note in notes) == 1
    assert said_in(tmp_path / "run") == notes[:1]
    train_run(None, tmp_path / "run", device="cpu", resume=True, on_note=notes.append)
    assert len(said_in(tmp_path / "run")) == 1
    x = torch.rand(4, 1, 8, 8)
    assert gives_probabilities(Rooted(softmax=True), x)
    assert not gives_probabilities(Rooted(), x)


def said_in(folder):
    return layout.read_info(folder)["doubts"]


def test_every_door_says_of_a_network_that_it_gives_probabilities_once(tmp_path, capfd):
    """A monitor, and probe, evaluate and check of a weights file and of a run."""
    model, x = Rooted(softmax=True), torch.rand(20, 1, 8, 8)
    Monitor(model, (x, torch.arange(20) % 10), probes=["gradient-norm"], folder=tmp_path / "watched").close()
    (line,) = said_in(tmp_path / "watched")
    assert capfd.readouterr().err == f"overfit-lab: {line}\n"
    Monitor(Rooted(), (x, torch.arange(20) % 10), probes=["gradient-norm"], folder=tmp_path / "logits").close()
    assert "doubts" not in layout.read_info(tmp_path / "logits")
    torch.save(model.state_dict(), tmp_path / "w.pt")
    train_run(config_of(softmax=True), tmp_path / "run", device="cpu", on_note=print)
    few = ["--n", "20", "--device", "cpu"]
    foreign = ["--model", "training.test_doubts:Rooted", "--data", "digits", "--set", "model.softmax=true"]
    probe, checks = ["--metric", "calibration", "--inputs", "clean"], ["--only", "deterministic"]
    for command, options in (("probe", probe), ("evaluate", ["--steps", "1"]), ("check", checks)):
        out = [] if command == "probe" else ["--out", str(tmp_path / command)]
        for target in ([str(tmp_path / "w.pt"), *foreign, *out], [str(tmp_path / "run"), "--trust"]):
            capfd.readouterr()
            assert run([command, *target, *options, *few]) == 0
            assert capfd.readouterr().err.count("ends in a softmax") == 1, (command, target)
        assert all(said_in(folder) == [line] for folder in ([tmp_path / command] if out else []))
    assert said_in(tmp_path / "run") == [line]


def test_milestones_that_are_not_reached_are_said(tmp_path):
    notes = []
    schedule = {"name": "piecewise", "milestones": [1, 2, 9]}
    changes = {"schedule": schedule, "epochs": 2, "model": {"name": "mlp", "hidden": 4}}
    train_run(config_of(**changes), tmp_path / "run", device="cpu", on_note=notes.append)
    says = "does not drop at epoch 2, 9: the run ends after 2 epochs"
    assert [note for note in notes if f"the learning rate {says}" in note] == notes
    changes |= {"attack": {"eps_schedule": schedule}, "schedule": "constant"}
    train_run(config_of(**changes), tmp_path / "eps", device="cpu", on_note=notes.append)
    assert f"eps {says}" in notes[1]


def test_a_start_after_the_end_is_refused_before_a_folder_is_made_but_an_older_run_opens(tmp_path):
    config = config_of(regularizers=[{"name": "awp", "start_epoch": 5}])
    with pytest.raises(ConfigError, match="start_epoch = 5: the run ends after 1 epochs, so awp would never act"):
        train_run(config, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()
    assert "awp" in build(config, torch.device("cpu")).regularizers


def test_a_loss_that_two_classes_leave_no_gradient_is_refused_before_an_attack():
    session = build(config_of(), torch.device("cpu"))
    with pytest.raises(ConfigError, match="loss 'dlr': needs 3 classes or more, this model has 2"):
        make_attacker("pgd", session.config, AttackOptions(loss="dlr"), n_classes=2)
    with pytest.raises(ConfigError, match="attack 'apgd-dlr': needs 3 classes or more, this model has 2"):
        make_attacker("apgd-dlr", session.config, n_classes=2)
