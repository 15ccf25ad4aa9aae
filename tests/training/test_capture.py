"""The training attack as one graph, by a capture of the CPU: its buffers, when it is captured anew, the way back."""

import logging
from dataclasses import replace

import pytest
import torch

from overfit_lab.config.catalog import LABELS, OBJECTIVES
from overfit_lab.methods.attacks.graphed import GraphedAscents
from overfit_lab.methods.objectives.pgd_at import PgdAt
from overfit_lab.models.compute.graphs import Graphs
from overfit_lab.records.layout import read_info
from overfit_lab.training.build import build
from overfit_lab.training.capture import capture_training
from overfit_lab.training.events import EpochEnded, EventBus
from overfit_lab.training.loop import train
from overfit_lab.training.run import train_run
from recorded import recorded
from tiny import tiny_config

CONVOLVES = {"name": "small-cnn", "width": 4}
FEW = {"name": "digits", "n_train": 64, "n_test": 32, "augment": ["crop", "flip"], "crop_padding": 1}
QUIET = {
    "data": FEW,
    "probes": {},
    "schedule": {"name": "constant"},
    "evaluation": {"n_steps": 0},
    "model": CONVOLVES,
    "epochs": 2,
}


def session_of(labels="hard", **changes):
    return build(tiny_config(labels, **{**QUIET, **changes}), torch.device("cpu"))


def weights(session):
    return [tensor.clone() for tensor in session.model.state_dict().values()]


def trained(session):
    values = []
    bus = EventBus()
    bus.on(EpochEnded, lambda event: values.extend(v for v in event.values if not v.field.startswith("seconds")))
    train(session, bus)
    return weights(session), values


# a teacher's weights stand still as well, so kd is like the others
REMEMBER = [name for name in LABELS if name != "kd"]
KINDS = [*((objective, "hard") for objective in OBJECTIVES), *(("pgd-at", labels) for labels in REMEMBER)]


@pytest.mark.parametrize(("objective", "labels"), KINDS)
def test_training_with_replays_is_training_without_to_the_bit(objective, labels):
    plain = session_of(labels, objective=objective)
    graphed = session_of(labels, objective=objective)
    capture_training(graphed, recorded)
    assert "fallback" not in graphed.compute
    assert graphed.compute["graph"] is plain.objective.needs_attack
    (expected, measured), (actual, again) = trained(plain), trained(graphed)
    assert all(map(torch.equal, expected, actual))
    assert measured == again
    if graphed.ascents is not None:
        assert graphed.ascents.failed is None
        assert graphed.ascents.graphs.n_captures <= 3


MORE = {
    "mixup": {"regularizers": ["mixup"]},
    "perturbed weights": {"regularizers": ["awp"]},
    "restarts": {"attack": {"eps": 0.1, "step_size": 0.025, "n_steps": 2, "n_restarts": 3}},
    "batch norm in train mode": {"attack": {"eps": 0.1, "step_size": 0.025, "n_steps": 2, "bn_mode": "train"}},
    "the plain network": {"compute": {"fold": False}},
    "half precision": {"compute": {"precision": "bf16"}},
    "a smaller last batch": {"batch_size": 40},
    "the target distribution": {
        "objective": {"name": "pgd-at", "attack_labels": "targets"},
        "labels": {"name": "sglr"},
    },
}


@pytest.mark.parametrize("what", list(MORE))
def test_what_goes_with_it(what):
    changes = dict(MORE[what])
    labels = changes.pop("labels", "hard")
    plain, graphed = session_of(labels, **changes), session_of(labels, **changes)
    capture_training(graphed, recorded)
    assert graphed.compute["graph"]
    (expected, _), (actual, _) = trained(plain), trained(graphed)
    assert all(map(torch.equal, expected, actual))
    assert graphed.ascents.failed is None


def captures(session):
    """How often the attack is captured in training, after it was tried."""
    capture_training(session, recorded)
    before = session.ascents.graphs.n_captures
    trained(session)
    return session.ascents.graphs.n_captures - before


def test_it_is_captured_once_for_each_size_of_batch():
    assert captures(session_of(batch_size=40)) == 2  # 40 and 24 images
    assert captures(session_of()) == 1


def test_a_weight_that_changes_with_the_epoch_is_captured_anew():
    te = {"name": "te", "start_epoch": 1, "ramp_end": 4}
    assert captures(session_of(te, epochs=4)) == 4  # without the term, and with each of its weights


class Asks(PgdAt):
    """Its loss waits for a number."""

    def attack_loss(self, model, batch, targets):
        loss = super().attack_loss(model, batch, targets)
        return lambda logits: loss(logits) * (1 + 0 * logits.detach().sum().item())


class Remembers(PgdAt):
    """Its loss reads what does not stay where it lies."""

    def attack_loss(self, model, batch, targets):
        self.latest = targets if self.latest is None else self.latest
        latest, self.latest = self.latest, replace(targets, given=targets.given.clone())
        return super().attack_loss(model, batch, latest)

    latest = None


SOMEBODYS = {"objective": {"name": f"{__name__}:Remembers"}}
FAILS = {
    "a wait": ({"objective": {"name": f"{__name__}:Asks"}, "compute": {"graph": True}}, "Waits: operation not permit"),
    "a growing eps": (
        {"attack": {"eps": 0.1, "n_steps": 1, "eps_schedule": {"name": "ramp", "until": 2}}},
        "eps changes at every step",
    ),
    "somebody's loss": (SOMEBODYS, f"the objective is {__name__}'s own; compute.graph=true captures it all the same"),
    "no attack": ({"objective": "standard", "compute": {"graph": True}}, "training has no attack by pgd"),
    "a noise": ({"attack": {"name": "gaussian-noise"}, "compute": {"graph": True}}, "training has no attack by pgd"),
}


@pytest.mark.parametrize("what", list(FAILS))
def test_what_cannot_be_captured_trains_without_and_says_why(what, caplog):
    changes, why = FAILS[what]
    plain, session = session_of(**changes), session_of(**changes)
    with caplog.at_level(logging.WARNING):
        capture_training(session, recorded)
    assert session.compute["graph"] is False
    assert session.ascents is None
    assert session.compute["fallback"].startswith(f"attack not captured: {why}")
    assert "\n" not in session.compute["fallback"]
    assert "training goes on without" in caplog.text
    assert all(map(torch.equal, trained(plain)[0], trained(session)[0]))


def test_a_loss_that_reads_what_moves_is_found_out():
    session = session_of(**SOMEBODYS, compute={"graph": True})
    capture_training(session, recorded)
    assert session.ascents is None
    assert "a replay gives other images" in session.compute["fallback"]


def test_a_replay_that_gives_other_images_is_not_used():
    def blind(work):
        captured = recorded(work)
        captured.replay()
        return type(captured)(lambda: None, captured.outputs)

    session = session_of()
    capture_training(session, blind)
    assert session.ascents is None
    assert "a replay gives other images" in session.compute["fallback"]


def test_a_capture_that_fails_later_leaves_training_as_it_would_be():
    def until_now(work):
        if session.clock.step:
            raise RuntimeError("out of memory")
        return recorded(work)

    plain, session = session_of(batch_size=40), session_of(batch_size=40)
    capture_training(session, until_now)
    assert session.compute["graph"] is True
    expected, (actual, _) = trained(plain)[0], trained(session)
    assert session.ascents.failed == "RuntimeError: out of memory"
    assert all(map(torch.equal, expected, actual))


def test_nothing_is_captured_on_a_cpu_and_asked_for_it_says_so(tmp_path):
    config = tiny_config("hard", **QUIET)
    assert train_run(config, tmp_path / "auto", device="cpu") == "completed"
    compute = read_info(tmp_path / "auto")["compute"]
    assert compute["graph"] is False
    assert "fallback" not in compute
    asked = tiny_config("hard", **QUIET, compute={"graph": True})
    assert train_run(asked, tmp_path / "asked", device="cpu") == "completed"
    compute = read_info(tmp_path / "asked")["compute"]
    assert compute["graph"] is False
    assert compute["fallback"] == "attack not captured: graphs are CUDA's, and the run is not on CUDA"


def test_trying_it_moves_nothing():
    session = session_of("sglr", regularizers=["ema"])
    before = [*weights(session), *(t.clone() for t in session.labels.state_dict().values())]
    state = torch.get_rng_state()
    capture_training(session, recorded)
    after = [*weights(session), *session.labels.state_dict().values()]
    assert all(map(torch.equal, before, after))
    assert torch.equal(state, torch.get_rng_state())
    assert all(p.grad is None for p in session.model.parameters())


def test_gradients_that_are_no_numbers_are_counted_at_every_replay():
    def values(session):
        with torch.no_grad():
            session.model.linear.weight[0, 0] = torch.nan
        session.config = session.config.model_copy(update={"when_diverged": "continue"})
        found = trained(session)[1]
        return [v.value for v in found if v.field == "gradients_not_finite"]

    plain, graphed = session_of(epochs=1), session_of(epochs=1)
    graphed.ascents = GraphedAscents(lambda *rest: graphed.objective.attack_loss(graphed.model, *rest), recorded)
    expected = values(plain)
    assert expected == [64 * 2]
    assert values(graphed) == expected


def test_the_latest_captures_are_held():
    graphs = Graphs(recorded)
    double = lambda inputs: (2 * inputs[0],)  # noqa: E731
    for n, n_captures in ((2, 1), (3, 2), (2, 2), (4, 3), (2, 3), (3, 4)):
        x = torch.arange(float(n))
        (y,) = graphs.run("double", [x], double)
        assert torch.equal(y, 2 * x)
        assert graphs.n_captures == n_captures


def test_outputs_are_not_overwritten_by_the_next_replay():
    graphs = Graphs(recorded)
    double = lambda inputs: (2 * inputs[0],)  # noqa: E731
    first = graphs.run("double", [torch.ones(2)], double)[0]
    second = graphs.run("double", [torch.zeros(2)], double)[0]
    assert torch.equal(first, torch.full((2,), 2.0))
    assert torch.equal(second, torch.zeros(2))


def test_the_recording_is_as_blind_as_a_graph():
    seen = {"factor": 2.0}
    graphs = Graphs(recorded)
    times = lambda inputs: (seen["factor"] * inputs[0],)  # noqa: E731
    graphs.run("times", [torch.ones(1)], times)
    seen["factor"] = 3.0
    assert graphs.run("times", [torch.ones(1)], times)[0] == 2.0
