"""A stranger's plain PyTorch loop with our probes, and proof that they do not disturb it."""

import copy

import pytest
import torch
import yaml
from loops import EPOCHS, arrays, plain_loop, stranger
from torch import nn
from torch.nn import functional

from overfit_lab.errors import ConfigError, ProbeError, RunFolderError
from overfit_lab.methods.attacks.pgd import PGD
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.models.normalize import Normalize, put_in_front
from overfit_lab.monitor.monitor import Monitor
from overfit_lab.records import identity
from overfit_lab.records.reader import Run
from overfit_lab.training.events import EpochEnded
from overfit_lab.views.figures.caption import caption


def test_a_plain_loop_is_measured_and_not_disturbed(tmp_path):
    train, test = arrays()
    alone = plain_loop(stranger(), train)
    model = stranger()
    attack = PGD(ThreatModel(eps=0.1), step_size=0.05, n_steps=2)
    probes = ["gradient-norm", "iiw", "calibration", "confidence", "hessian", "features"]
    monitor = Monitor(
        model,
        train,
        test,
        probes=probes,
        attack=attack,
        penultimate="5",
        n=60,
        batch_size=50,
        folder=tmp_path / "mine",
        options={"hessian": {"max_probes": 3}},
    )
    heard = []
    monitor.on(EpochEnded, heard.append)
    plain_loop(model, train, monitor)
    monitor.close()
    for name, value in alone.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    assert len(heard) == EPOCHS
    records = monitor.records
    assert {*probes, "evaluation", "training"} == set(records["probe"])
    assert sorted(records["epoch"].unique()) == [1, 2, 3]
    iiw = records[(records["probe"] == "iiw") & (records["field"] == "iiw")]
    assert (iiw["value"] > 0).all()
    run = Run.open(tmp_path / "mine")
    assert run.info["status"] == "completed"
    assert len(run.records) == len(records)
    accuracy = run.series("evaluation", "acc_clean", "test", "clean")["value"]
    with torch.no_grad():
        model.eval()
        own = (model(test[0] / 255).argmax(1) == test[1]).float()
    order = monitor.data.splits["test"].order[:60]
    assert accuracy.iloc[-1] == pytest.approx(own[order].mean().item())


def test_the_free_gradient_norm_is_that_of_the_step(tmp_path):
    train, _ = arrays()
    model = stranger()
    monitor = Monitor(model, train, probes=[])
    model.train()
    norms = []
    for index in torch.arange(200).split(100):
        model.zero_grad()
        functional.cross_entropy(model(train[0][index] / 255), train[1][index]).backward()
        norms.append(torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item())
        monitor.gradients_ready()
    monitor.epoch_ended()
    records = monitor.records
    row = records[records["field"] == "grad_norm_minibatch"].iloc[0]
    assert row["value"] == pytest.approx(sum(norms) / 2, rel=1e-6)
    assert not (records["field"] == "loss").any()


def test_bad_input_is_refused_before_anything_is_made(tmp_path):
    train, test = arrays()
    with pytest.raises(ConfigError, match="did you mean calibration"):
        Monitor(stranger(), train, test, probes=["calibratoin"], folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "theirs.txt").write_text("keep")
    with pytest.raises(RunFolderError):
        Monitor(stranger(), train, test, folder=tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["theirs.txt"]


def rows(monitor):
    return monitor.records.drop(columns="seconds").astype(str).values.tolist()


def test_a_data_set_gives_the_records_of_its_arrays():
    train, test = arrays()
    attack = PGD(ThreatModel(eps=0.1), step_size=0.05, n_steps=2)
    sets = {name: torch.utils.data.TensorDataset(x / 255, y) for name, (x, y) in (("train", train), ("test", test))}
    monitors = []
    for data in ({"train": train, "test": test}, sets):
        monitor = Monitor(stranger(), data, attack=attack, n=60, probes=["iiw", "calibration", "gradient-norm"])
        plain_loop(monitor.model, train, monitor)
        monitors.append(monitor)
    assert rows(monitors[0]) == rows(monitors[1])
    assert monitors[1].kept["train"].startswith("60 of 200 samples")
    small = Monitor(stranger(), sets, n=1, probes=[])
    assert small.kept["train"].startswith("1 of 200 samples")


def test_a_loop_that_normalises_is_measured_as_with_normalisation_in_the_model():
    train, test = arrays()
    mean, std = (0.3,), (0.25,)
    inside, outside = stranger(), stranger()
    put_in_front(inside, Normalize(mean, std))
    given = {"probes": ["iiw", "confidence"], "n": 40}
    a = Monitor(inside, train, test, **given)
    b = Monitor(outside, train, test, normalize=(mean, std), **given)
    for monitor in (a, b):
        with torch.no_grad():
            for parameter in monitor.model.parameters():
                parameter.mul_(1.1)
        monitor.epoch_ended()
    assert rows(a) == rows(b)
    assert not outside._forward_pre_hooks
    with pytest.raises(ConfigError, match="mean: 3 values, expected 1"):
        Monitor(stranger(), train, normalize=((0.5,) * 3, (0.5,) * 3))


@pytest.mark.parametrize("folder", [True, False])
def test_a_resumed_loop_measures_from_the_same_theta_0(tmp_path, folder):
    train, test = arrays()
    given = {"probes": ["iiw", "calibration"], "n": 40, "batch_size": 50}
    whole = Monitor(stranger(), train, test, **given)
    plain_loop(whole.model, train, whole)
    first = Monitor(stranger(), train, test, folder=tmp_path / "run" if folder else None, **given)
    states = []
    first.on(EpochEnded, lambda _: states.append((copy.deepcopy(first.model.state_dict()), first.state_dict())))
    plain_loop(first.model, train, first)
    first.close("interrupted")
    weights, state = states[1]
    torch.save(state, tmp_path / "state.pt")
    model = stranger()
    model.load_state_dict(weights)
    second = Monitor(model, train, test, folder=tmp_path / "run" if folder else None, resume=True, **given)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    model.load_state_dict(whole.model.state_dict())
    second.epoch_ended(3)
    iiw = [m.records[(m.records["probe"] == "iiw") & (m.records["epoch"] == 3)]["value"] for m in (whole, second)]
    assert iiw[0].tolist() == iiw[1].tolist()
    with pytest.raises(ProbeError, match="theta_0 is of another model"):
        Monitor(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), train).load_state_dict(state)
    if folder:
        second.close()
        with pytest.raises(RunFolderError, match="another configuration"):
            Monitor(stranger(), train, test, folder=tmp_path / "run", resume=True, seed=5, **given)


def test_a_resumed_loop_may_have_other_probes(tmp_path):
    train, test = arrays()
    given = {"n": 40, "batch_size": 50, "folder": tmp_path / "run"}
    first = Monitor(stranger(), train, test, probes=["calibration", "confidence"], **given)
    first.epoch_ended()
    state = first.state_dict()
    first.epoch_ended()
    first.close("interrupted")
    second = Monitor(stranger(), train, test, probes=["iiw"], resume=True, **given)
    second.load_state_dict(state)
    second.epoch_ended()
    second.close()
    run = Run.open(tmp_path / "run")
    assert [sorted(set(run.records[run.records["epoch"] == e]["probe"])) for e in (1, 2)] == [
        ["calibration", "confidence", "evaluation"], ["evaluation", "iiw"],
    ]  # fmt: skip
    assert run.config.probes.metrics == ("iiw",)
    (change,) = run.info["probes_changed"]
    assert (change["epoch"], change["before"]["metrics"], change["now"]["metrics"]) == (
        1, ["calibration", "confidence"], ["iiw"],
    )  # fmt: skip


def test_a_folder_to_which_no_epoch_was_written_is_free(tmp_path, capsys):
    train, test = arrays()
    folder = tmp_path / "run"
    first = Monitor(stranger(), train, test, probes=[], folder=folder, seed=1)  # still open, as in a notebook
    second = Monitor(stranger(), train, test, probes=["iiw"], folder=folder, seed=2)
    first.epoch_ended()
    assert "run: another monitor began there, so this one writes nothing there any more" in capsys.readouterr().err
    first.close("failed")
    second.epoch_ended()
    with pytest.raises(RunFolderError, match="already holds a run"):
        Monitor(stranger(), train, test, folder=folder)
    second.close()
    run = Run.open(folder)
    assert (run.config.seed, run.info["status"], run.config.probes.metrics) == (2, "completed", ("iiw",))
    third = Monitor(stranger(), train, test, probes=[], folder=tmp_path / "other", seed=1)
    third.close("failed")
    Monitor(stranger(), train, test, probes=[], folder=tmp_path / "other", seed=2, resume=True).close()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="already holds a run"):
        Monitor(stranger(), train, test, folder=tmp_path / "other")


@pytest.mark.parametrize("say", [lambda n: {"n_epochs": n}, lambda n: {"config": {"epochs": n, "lr": 0.1}}])
def test_a_resumed_loop_may_be_longer(tmp_path, say):
    train, test = arrays()
    given = {"probes": [], "folder": tmp_path / "run"}
    first = Monitor(stranger(), train, test, **given, **say(5))
    first.epoch_ended()
    state = first.state_dict()
    first.close()
    second = Monitor(stranger(), train, test, resume=True, **given, **say(8))
    second.load_state_dict(state)
    second.epoch_ended()
    second.close()
    run, whole = Run.open(tmp_path / "run"), Monitor(stranger(), train, test, folder=tmp_path / "whole", **say(8))
    whole.close()
    assert identity.experiment(run.config) == identity.experiment(Run.open(tmp_path / "whole").config)
    assert sorted(set(run.records["epoch"])) == [1, 2]
    assert [change["epoch"] for change in run.info["epochs_changed"]] == [1]
    with pytest.raises(RunFolderError, match="batch_size is not set there and 7 now"):
        Monitor(stranger(), train, test, resume=True, batch_size=7, **given, **say(9))


class Still:
    """An attack of one's own that does nothing."""

    adversarial, trains = True, True

    def __init__(self):
        self.threat = ThreatModel("l2", 0.5)

    def __call__(self, model, x, loss, *, generator, start=None):
        return x


@pytest.mark.parametrize(
    ("attack", "says"),
    [
        (PGD(ThreatModel("linf", 0.1), step_size=0.02, n_steps=7), "PGD-7, l_inf eps 0.1;"),
        (None, "no attack;"),
        (Still(), "Still, l_2 eps 0.5;"),
    ],
)
def test_a_caption_says_what_was_given_and_nothing_that_is_not_known(tmp_path, attack, says):
    train, test = arrays()
    monitor = Monitor(stranger(), train, test, probes=["calibration"], n=40, attack=attack, folder=tmp_path / "run")
    monitor.epoch_ended()
    monitor.close()
    text = caption([Run.open(tmp_path / "run")])
    assert says in text
    assert text.startswith("arrays, n train 200, n test 100;")
    assert "noise" not in text


def test_a_folder_from_before_the_attack_was_recorded_is_resumed(tmp_path):
    train, test = arrays()
    given = {"probes": ["calibration"], "n": 40, "attack": PGD(ThreatModel("linf", 0.1), step_size=0.02, n_steps=7)}
    first = Monitor(stranger(), train, test, folder=tmp_path / "run", **given)
    first.epoch_ended()
    first.close("interrupted")
    path = tmp_path / "run" / "config.yaml"
    kept = yaml.safe_load(path.read_text())
    old = {key: kept[key] for key in kept if key not in ("data", "attack")}
    old["evaluation"] = {"every": 1, "n_train": 40, "n_test": 40, "n_val": 40}
    path.write_text(yaml.safe_dump(old))
    before = (tmp_path / "run" / "records.jsonl").read_text()
    state = first.state_dict()
    second = Monitor(stranger(), train, test, folder=tmp_path / "run", resume=True, **given)
    second.load_state_dict(state)
    second.epoch_ended()
    second.close()
    run = Run.open(tmp_path / "run")
    assert (tmp_path / "run" / "records.jsonl").read_text().startswith(before)
    assert sorted(run.records["epoch"].unique()) == [1, 2]
    assert run.info["status"] == "completed"


class Compiled(nn.Module):
    def __init__(self, model):
        super().__init__()
        self._orig_mod = model


def test_wrapped_models_and_models_without_logits():
    train, _ = arrays()
    model = stranger()
    assert Monitor(Compiled(nn.DataParallel(model)), train).model is model
    with pytest.raises(ProbeError, match=r"Conv2d: gives a tensor of shape \(1, 4, 6, 6\)"):
        Monitor(nn.Conv2d(1, 4, 3), train)
    with pytest.raises(ProbeError, match="cannot be called with images of shape"):
        Monitor(nn.Linear(3, 10), train)
    with pytest.raises(ConfigError, match="label 9: the model gives 5 logits"):
        Monitor(nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), train)
    with pytest.raises(ConfigError, match="no training split"):
        Monitor(stranger())
    with pytest.raises(ConfigError, match="given twice"):
        Monitor(stranger(), train, train=train)


def test_every_record_of_a_probe_says_its_seconds():
    train, test = arrays()
    monitor = Monitor(stranger(), train=train, test=test, n=20)
    monitor.epoch_ended()
    probes = monitor.records[~monitor.records["probe"].isin(["training", "evaluation"])]
    assert len(probes)
    assert (probes["seconds"] > 0).all()
