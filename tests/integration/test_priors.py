"""Priors of IIW: trained, kept, taken from files; live and post hoc alike, and never under one name."""

import json
import shutil

import pytest
import torch

from overfit_lab.cli.main import run
from overfit_lab.config import to_yaml
from overfit_lab.config.catalog import PRIORS
from overfit_lab.config.permission import NOTHING, granted
from overfit_lab.config.trust import check_trusted
from overfit_lab.errors import ConfigError, OverfitLabError, ProbeError, RunFolderError
from overfit_lab.files.tensorfile import read_tensors, write_tensors
from overfit_lab.monitor.monitor import Monitor
from overfit_lab.probes.metrics.iiw import distance, iiw
from overfit_lab.probes.priors.base import find_prior
from overfit_lab.probes.priors.held_out import prior_config
from overfit_lab.records.reader import Run
from overfit_lab.training.build import build
from overfit_lab.training.checkpoint import load_checkpoint
from overfit_lab.training.events import EpochEnded, EventBus, StepEnded
from overfit_lab.training.loop import train_epoch
from overfit_lab.training.probing import probe_run, probe_weights
from overfit_lab.training.run import train_run
from overfit_lab.training.subjects import at_checkpoints, open_run
from overfit_lab.types import Dataset, Split
from tiny import tiny_config

HELD_OUT = {"prior": "held-out", "prior_epochs": 3, "layers": False}
FIELDS = {"iiw-prior-held-out-3", "distance-prior-held-out-3"}
KEPT = "priors/held-out-3.safetensors"


def config_of(labels="sglr", options=HELD_OUT, **changes):
    probes = {"every": 2, "metrics": ["iiw"], "n": 30, "options": {"iiw": options}}
    return tiny_config(labels, regularizers=["swa", "awp"], **{"probes": probes, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("priors") / "run"
    assert train_run(config_of(), folder, device="cpu") == "completed"
    return folder


@pytest.fixture
def copied(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "copy", ignore=shutil.ignore_patterns(".lock"))
    return tmp_path / "copy"


def numbers(records, probe="iiw"):
    kept = [r for r in records if r.probe == probe]
    return {(r.epoch, r.field, r.inputs): (r.value, None if r.stderr != r.stderr else r.stderr, r.n) for r in kept}


def live_numbers(folder, probe="iiw"):
    frame = Run.open(folder).records
    return numbers(frame[frame["probe"] == probe].itertuples(), probe)


def test_the_readings_are_named_apart_and_the_prior_is_kept(finished):
    live = live_numbers(finished)
    assert {field for _, field, _ in live} == FIELDS
    assert {field for _, field, _ in live_numbers(finished, "iiw@swa")} == FIELDS
    meta, tensors = read_tensors(finished / KEPT)
    notes = meta["prior"]
    wanted = {"kind": "held-out", "epochs": 3, "split": "val", "n": 32, "seed": 0}
    assert {key: notes[key] for key in wanted} == wanted
    assert len(notes["config"]) == 12
    assert {name.removeprefix("model/") for name in tensors} == set(
        load_checkpoint(finished / "checkpoints/last.safetensors").model
    )


def test_later_readings_are_the_live_ones_from_the_kept_prior_and_from_a_fresh_one(finished, copied):
    live = {key: value for key, value in live_numbers(finished).items() if key[0] == 4}
    before = (copied / KEPT).stat().st_mtime_ns
    assert numbers(probe_run(copied, ["iiw"], device="cpu", save=False)) == live
    assert (copied / KEPT).stat().st_mtime_ns == before
    shutil.rmtree(copied / "priors")
    assert numbers(probe_run(copied, ["iiw"], device="cpu", save=False)) == live
    assert not (copied / "priors").exists()
    assert numbers(probe_run(copied, ["iiw"], device="cpu", save=True)) == live
    first, second = (read_tensors(folder / KEPT)[1] for folder in (finished, copied))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_it_is_the_run_on_the_validation_split_from_the_runs_weights(finished):
    """By hand: a session on the held-out images in the place of the training images, three epochs of the loop."""
    config = load_config_of(finished)
    whole = build(config, torch.device("cpu"))
    val = whole.data.splits["val"]
    split = Split("train", val.x, val.y, val.y_true, val.corrupted, val.order)
    data = Dataset("digits", {"train": split}, whole.data.class_names, whole.data.mean, whole.data.std)
    session = build(prior_config(config, 3), torch.device("cpu"), data=data)
    initial = load_checkpoint(finished / "checkpoints/initial.safetensors").model
    for name, p in session.model.named_parameters():
        p.data.copy_(initial[name])
    for _ in range(3):
        train_epoch(session, EventBus())
    _, tensors = read_tensors(finished / KEPT)
    for name, p in session.model.named_parameters():
        assert torch.equal(p.detach(), tensors[f"model/{name}"])
        assert not torch.equal(p.detach(), initial[name]) or p.numel() == 0
    assert session.config.labels.name == "hard"
    assert session.config.regularizers == ()
    assert (session.config.objective, session.config.attack) == (config.objective, config.attack)
    assert (session.config.optimizer, session.config.data) == (config.optimizer, config.data)


def load_config_of(folder):
    return Run.open(folder).config


def test_it_learns_what_the_held_out_images_teach(finished):
    session = open_run(finished, device="cpu")
    val = session.data.splits["val"]
    losses = []
    for state in (
        load_checkpoint(finished / "checkpoints/initial.safetensors").model,
        read_tensors(finished / KEPT)[1],
    ):
        session.model.load_state_dict({name.removeprefix("model/"): tensor for name, tensor in state.items()})
        with torch.no_grad():
            logits = session.model.eval()(val.x / 255)
        losses.append(torch.nn.functional.cross_entropy(logits, val.y).item())
    assert losses[1] < losses[0]


def test_the_reading_is_n_d_f_d_with_d_counted_from_the_prior(finished):
    (snapshot,) = at_checkpoints(open_run(finished, device="cpu"), finished, "final")
    view = snapshot.view("train", "clean", 30)
    _, tensors = read_tensors(finished / KEPT)
    displacement = {name: p.detach() - tensors[f"model/{name}"] for name, p in snapshot.model.named_parameters()}
    snapshot.model.eval()
    expected = iiw(snapshot.model, view.x, view.y, displacement, n_train=96)
    live = live_numbers(finished)
    assert live[4, "iiw-prior-held-out-3", "clean"][0] == pytest.approx(expected.value, rel=1e-6)
    assert live[4, "distance-prior-held-out-3", "clean"][0] == pytest.approx(distance(displacement), rel=1e-6)


class Dropping(torch.nn.Module):
    """A network whose training draws from the global stream."""

    def __init__(self, n_classes: int):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(), torch.nn.Linear(64, n_classes))

    def forward(self, x):
        return self.net(x)


def test_making_a_prior_leaves_no_trace():
    """Model, modes, gradients and the global streams are as before, also with a model that draws from them."""
    session = build(tiny_config(model=f"{__name__}:Dropping", probes={}), torch.device("cpu"))
    session.model.eval()
    before = {name: tensor.clone() for name, tensor in session.model.state_dict().items()}
    stream = torch.get_rng_state()
    first = find_prior("held-out", 1).make(session.snapshot())
    assert torch.equal(stream, torch.get_rng_state())
    assert not session.model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in session.model.state_dict().items())
    assert all(p.grad is None for p in session.model.parameters())
    torch.rand(5)
    second = find_prior("held-out", 1).make(session.snapshot())
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], before[name]) for name in first)


def test_training_does_not_see_the_prior(finished, tmp_path):
    train_run(config_of(probes={"metrics": []}), tmp_path / "silent", device="cpu")
    first, second = (load_checkpoint(f / "checkpoints/last.safetensors").model for f in (finished, tmp_path / "silent"))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("where", ["prior", "run"])
def test_a_run_stopped_while_its_prior_trains_or_later_goes_on(finished, tmp_path, where):
    folder, seen, bus = tmp_path / "run", [], EventBus()

    def stop(event):
        raise KeyboardInterrupt

    def prior_bus(name):
        seen.append(name)
        own = EventBus()
        if where == "prior":
            own.on(EpochEnded, stop)
        return own

    if where == "run":
        bus.on(StepEnded, stop)
    assert train_run(config_of(), folder, device="cpu", bus=bus, prior_bus=prior_bus) == "interrupted"
    assert seen == ["held-out-3"]
    assert Run.open(folder).info["status"] == "interrupted"
    assert (folder / KEPT).exists() == (where == "run")
    assert train_run(None, folder, device="cpu", resume=True) == "completed"
    assert live_numbers(folder) == live_numbers(finished)


def test_a_resumed_run_counts_from_the_initial_weights_that_its_folder_keeps(tmp_path):
    """Another torch may draw other weights from the same seed; what the run began with is in its folder."""
    folder, bus = tmp_path / "run", EventBus()

    def stop(event):
        if event.clock.epoch == 1:
            raise KeyboardInterrupt

    bus.on(StepEnded, stop)
    config = config_of(options={"layers": False})
    assert train_run(config, folder, device="cpu", bus=bus) == "interrupted"
    initial = folder / "checkpoints/initial.safetensors"
    meta, tensors = read_tensors(initial)
    write_tensors(initial, {name: t + 0.1 if t.is_floating_point() else t for name, t in tensors.items()}, meta)
    assert train_run(None, folder, device="cpu", resume=True) == "completed"
    live = {key: value for key, value in live_numbers(folder).items() if key[0] == 4}
    assert numbers(probe_run(folder, ["iiw"], device="cpu", save=False)) == live
    short = {name: t[:1] for name, t in tensors.items() if t.ndim}
    write_tensors(initial, short, meta)
    with pytest.raises(RunFolderError, match="does not fit the configuration"):
        probe_run(folder, ["iiw"], device="cpu")


@pytest.mark.parametrize(
    ("objective", "labels"), [("trades", "hard"), ("standard", "smooth"), ("mart", "hard"), ("sce", "te")]
)
def test_any_objective_and_label_mode(tmp_path, objective, labels):
    config = tiny_config(
        labels, objective=objective, epochs=1, probes={"metrics": ["iiw"], "n": 20, "options": {"iiw": HELD_OUT}}
    )
    assert train_run(config, tmp_path / "run", device="cpu") == "completed"
    assert all(value > 0 for value, *_ in live_numbers(tmp_path / "run").values())


def test_what_it_cannot_be_trained_from_is_said_before_anything_is_made(tmp_path, finished):
    content = config_of().model_dump(mode="json")
    config = type(config_of()).model_validate({**content, "data": {**content["data"], "n_val": 0}})
    with pytest.raises(ProbeError, match=r"data\.n_val"):
        train_run(config, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()
    weights = finished / "checkpoints" / "last.safetensors"
    with pytest.raises(ProbeError, match="give a run folder, or a weights file as prior"):
        probe_weights(weights, ["iiw"], config=config_of(options={}), options={"iiw": HELD_OUT})
    x, y = torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 0, 1])
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
    with pytest.raises(ProbeError, match="loop of one's own"):
        Monitor(model, (x, y), val=(x, y), probes=["iiw"], options={"iiw": {"prior": "held-out"}})


def test_a_kept_prior_that_is_damaged_or_of_another_run_is_refused(copied, tmp_path):
    whole = (copied / KEPT).read_bytes()
    (copied / KEPT).write_bytes(whole[:200])
    with pytest.raises(RunFolderError, match="not a prior of overfit-lab"):
        probe_run(copied, ["iiw"], device="cpu")
    shutil.copy(copied / "checkpoints/last.safetensors", copied / KEPT)
    with pytest.raises(RunFolderError, match="made for another run or otherwise"):
        probe_run(copied, ["iiw"], device="cpu")
    (copied / KEPT).write_bytes(whole)
    (copied / KEPT).rename(copied / "priors" / "held-out-2.safetensors")
    with pytest.raises(RunFolderError, match="delete it to have it trained anew"):
        probe_run(copied, ["iiw"], device="cpu", options={"iiw": {"prior_epochs": 2}})


def test_an_earlier_prior_file_may_have_been_made_by_another_version(copied):
    """The hash of the configuration is a note; keys that come later must not make a kept prior useless."""
    meta, tensors = read_tensors(copied / KEPT)
    write_tensors(copied / KEPT, tensors, {"prior": {**meta["prior"], "config": "0" * 12, "torch": "2.6"}})
    assert probe_run(copied, ["iiw"], device="cpu", save=False)


# Weights that are there already.


def test_a_run_or_a_file_as_prior_is_the_same_weights(finished, copied):
    names = [f"{finished}@initial", str(finished / "checkpoints/initial.safetensors"), "initial"]
    found = [
        probe_run(copied, ["iiw"], device="cpu", options={"iiw": {**HELD_OUT, "prior": name}}, save=False)
        for name in names
    ]
    values = [[(r.value, r.stderr) for r in records] for records in found]
    assert values[0] == values[1] == values[2]
    fields = [{r.field for r in records} for records in found]
    assert fields[2] == {"iiw", "distance"}
    assert all(field.startswith(("iiw-prior-run-initial-", "distance-prior-run-initial-")) for field in fields[0])
    assert all(field.startswith(("iiw-prior-initial-", "distance-prior-initial-")) for field in fields[1])
    final = probe_run(copied, ["iiw"], device="cpu", options={"iiw": {"prior": f"{finished}@final"}}, save=False)
    assert all(r.value == 0 for r in final)


def test_sources_of_equal_names_and_estimators_are_told_apart():
    suffixes = {find_prior(name, 10).suffix for name in ("a/best.pt", "b/best.pt", "a@best", "b/a@best", "a@final")}
    assert len(suffixes) == 5
    assert find_prior("initial", 10).suffix == ""
    assert find_prior("held_out", 10).suffix == "prior-held-out"
    assert find_prior("held-out", 11).suffix == "prior-held-out-11"
    assert set(PRIORS) == {"held-out", "initial", "weights"}


def test_an_estimator_and_a_prior_both_append_their_name(copied):
    options = {"iiw": {**HELD_OUT, "estimator": "expected-fisher", "layers": True}}
    fields = {r.field.split("/")[0] for r in probe_run(copied, ["iiw"], device="cpu", options=options, save=False)}
    expected = {f"{name}-expected-fisher-prior-held-out-3" for name in ("iiw", "layer")}
    assert fields == expected | {"distance-prior-held-out-3"}


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ("heldout", "expected initial, held-out, RUN"),
        ("{run}@77", "no checkpoint '77'"),
        ("{run}@all", "a prior is one checkpoint"),
        ("nowhere:Class", "cannot import"),
        ("{other}", "shape"),
    ],
)
def test_a_prior_that_cannot_be_had_is_refused_before_anything_is_made(finished, teacher_run, tmp_path, prior, message):
    torch.save({"layers.0.weight": torch.zeros(2, 2)}, tmp_path / "other.pt")
    other = tmp_path / "other"
    shutil.copytree(finished, other, ignore=shutil.ignore_patterns(".lock"))
    meta, state = read_tensors(other / "checkpoints/best.safetensors")
    write_tensors(other / "checkpoints/best.safetensors", {k: v[:1] if v.ndim else v for k, v in state.items()}, meta)
    name = prior.replace("{run}", str(finished)).replace("{other}", str(other))
    with pytest.raises(OverfitLabError, match=message) as caught:
        train_run(config_of(options={"prior": name}), tmp_path / "run", device="cpu")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_prior_of_ones_own_is_a_class_and_needs_trust_where_a_file_names_it(tmp_path, monkeypatch, finished):
    (tmp_path / "zero_prior.py").write_text(
        "import torch\n"
        "from overfit_lab.probes.priors.base import Prior\n\n"
        "class Zero(Prior):\n"
        "    suffix = 'prior-zero'\n"
        "    def check(self, snapshot): pass\n"
        "    def make(self, snapshot):\n"
        "        return {name: torch.zeros_like(p) for name, p in snapshot.model.named_parameters()}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    options = {"iiw": {"prior": "zero_prior:Zero", "layers": False}}
    records = probe_run(finished, ["iiw"], device="cpu", options=options, save=False)
    norm = sum(
        p.double().square().sum() for p in parameters_of(finished / "checkpoints/last.safetensors", finished)
    ).sqrt()
    found = {r.value for r in records if r.field == "distance-prior-zero"}
    assert found.pop() == pytest.approx(norm.item(), rel=1e-6)
    assert not found
    with granted(NOTHING), pytest.raises(ConfigError, match=r"iiw\.prior = 'zero_prior:Zero'"):
        check_trusted(config_of(options={"prior": "zero_prior:Zero"}), "a.yaml", trust=False)
    check_trusted(config_of(options={"prior": "held-out"}), "a.yaml", trust=False)


def parameters_of(path, folder):
    state = load_checkpoint(path).model
    return [state[name] for name, _ in open_run(folder, device="cpu").model.named_parameters()]


# The command line.


def test_the_command_line_trains_it_says_so_and_keeps_it(tmp_path, capfd):
    (tmp_path / "tiny.yaml").write_text(to_yaml(tiny_config("hard", epochs=1, probes={})))
    folder = tmp_path / "run"
    assert run(["train", str(tmp_path / "tiny.yaml"), "--out", str(folder), "--device", "cpu"]) == 0
    capfd.readouterr()
    command = ["probe", str(folder), "--metric", "iiw", "--n", "20", "--device", "cpu", "--json"]
    assert run([*command, "--prior", "held-out", "--no-save"]) == 0
    assert not (folder / "priors").exists()
    capfd.readouterr()
    assert run([*command, "--prior", "held-out"]) == 0
    out, err = capfd.readouterr()
    assert "overfit-lab: prior held-out is trained first" in err
    assert "run, prior held-out: epoch 10/10, 0 s left" in err
    sugar = {(r["field"], r["inputs"], r["value"]) for r in json.loads(out)}
    assert {field.split("/")[0] for field, *_ in sugar} == {
        "iiw-prior-held-out",
        "distance-prior-held-out",
        "layer-prior-held-out",
    }
    assert (folder / "priors/held-out.safetensors").is_file()
    assert run([*command, "--set", "iiw.prior=held-out"]) == 0
    out, err = capfd.readouterr()
    assert "trained" not in err
    assert {(r["field"], r["inputs"], r["value"]) for r in json.loads(out)} == sugar


def test_a_weights_file_with_a_prior(finished, capfd):
    last, first = (str(finished / "checkpoints" / f"{name}.safetensors") for name in ("last", "initial"))
    sizes = ["data.n_train=96", "data.n_val=32", "data.n_test=64", "evaluation.n_steps=2", "model.hidden=16"]
    sets = [part for text in sizes for part in ("--set", text)]
    command = ["probe", last, "--model", "mlp", "--data", "digits", "--metric", "iiw", "--n", "20", "--json", *sets]
    values = []
    for option in ("--prior", "--reference"):
        assert run([*command, option, first]) == 0
        values.append([r["value"] for r in json.loads(capfd.readouterr()[0])])
    assert values[0] == values[1]
    assert run([*command, "--prior", first, "--reference", first]) == 2
    assert "give one of them" in capfd.readouterr()[1]
    assert run([*command[:6], "--metric", "calibration", *sets, "--prior", first]) == 2
    assert "goes with --metric iiw" in capfd.readouterr()[1]
