"""No part of a training step makes the host wait for the device, or brings in a tensor of the CPU: see on_meta.py."""

from typing import get_args

import pytest
import torch
from torch import nn

from on_meta import (
    META,
    OffDevice,
    OnOneDevice,
    Stream,
    first_batch,
    session_on_meta,
    step_on_one_device,
    to_meta,
    without_numbers,
)
from overfit_lab.config.catalog import ATTACKS, LABELS, OBJECTIVES, REGULARIZERS
from overfit_lab.config.schema import DataConfig
from overfit_lab.data.dataset import load_dataset
from overfit_lab.methods.attacks.losses import LOSSES
from overfit_lab.methods.attacks.pgd import PGD
from overfit_lab.methods.labels.base import Refresh
from overfit_lab.methods.labels.hard import Hard
from overfit_lab.methods.objectives.pgd_at import PgdAt
from overfit_lab.methods.regularizers.base import Regularizer
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.models.compute.folded import folded
from overfit_lab.training.complete import combine
from overfit_lab.training.parts import build_regularizers
from parts import part
from tiny import tiny_config

TEACHER = "another-run"
LATE = 3
"""An epoch in which every component takes part."""
CONVOLVES = {"name": "small-cnn", "width": 2}


def config_of(objective="pgd-at", labels="hard", regularizer=None, **changes):
    added = [part(REGULARIZERS, regularizer, TEACHER)] if regularizer else []
    return tiny_config(
        part(LABELS, labels, TEACHER),
        objective=part(OBJECTIVES, objective, TEACHER),
        regularizers=added,
        **{"probes": {}, "model": {"name": "mlp", "hidden": 3}, "attack": {"eps": 0.1, "n_steps": 1}, **changes},
    )


def refused(objective, labels, regularizer):
    """Whether the combination is none, as tests/contracts/test_combinations.py has it."""
    mixes = regularizer is not None and REGULARIZERS[regularizer].mixes_samples
    return mixes and (LABELS[labels].refresh is not Refresh.NEVER or OBJECTIVES[objective].one_label_each)


def regularizers_of(config, session):
    return build_regularizers(combine(config), session.data, session.model, session.teachers)


@pytest.fixture(scope="module")
def data():
    return to_meta(load_dataset(config_of().data, 0, torch.device("cpu")))


@pytest.fixture(autouse=True)
def on_meta(monkeypatch):
    with without_numbers(monkeypatch):
        yield


@pytest.mark.parametrize("labels", list(LABELS))
@pytest.mark.parametrize("objective", list(OBJECTIVES))
def test_a_step_without_and_with_every_regularizer(objective, labels, data):
    session = session_on_meta(config_of(objective, labels), data, LATE)
    step_on_one_device(session, first_batch(session))
    for regularizer in REGULARIZERS:
        if not refused(objective, labels, regularizer):
            session.regularizers |= regularizers_of(config_of(objective, labels, regularizer), session)
    step_on_one_device(session, first_batch(session))


@pytest.mark.parametrize("regularizer", list(REGULARIZERS))
def test_a_step_with_each_regularizer(regularizer, data):
    session = session_on_meta(config_of("pgd-at", "hard", regularizer), data, LATE)
    assert list(session.regularizers) == [regularizer]
    step_on_one_device(session, first_batch(session))


@pytest.mark.parametrize("objective", list(OBJECTIVES))
def test_a_step_of_a_network_that_folds(objective, data):
    session = session_on_meta(config_of(objective, model=CONVOLVES), data, LATE)
    batch = first_batch(session)
    step_on_one_device(session, batch)
    if session.objective.needs_attack:
        assert session.attack.ascended(session.model, batch.x) is not session.model


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.trains])
def test_attacks_that_train(name, norm, data):
    attack = {"name": name, "norm": norm, "n_steps": 2, "n_restarts": 2, "eps_schedule": "ramp"}
    session = session_on_meta(config_of(attack=attack, model=CONVOLVES), data, LATE)
    step_on_one_device(session, first_batch(session))


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("loss", list(LOSSES))
def test_losses_of_labels(loss, fold, data):
    session = session_on_meta(config_of(model=CONVOLVES), data)
    batch = first_batch(session)
    attack = PGD(ThreatModel(eps=0.1), step_size=0.1, n_steps=2, n_restarts=2, fold=fold)
    with OnOneDevice():
        x_adv = attack(session.model, batch.x, LOSSES[loss](batch.y), generator=Stream())
    assert x_adv.shape == batch.x.shape


def test_the_folded_network_follows_the_weights(data):
    session = session_on_meta(config_of(model=CONVOLVES), data)
    batch = first_batch(session)
    assert folded(session.model, batch.x) is not None
    with OnOneDevice():
        logits = folded(session.model, batch.x)(batch.x)
    assert logits.shape == (len(batch.y), data.n_classes)


AUGMENTATIONS = sorted(set(get_args(get_args(DataConfig.model_fields["augment"].annotation)[0])) - {"resized-crop"})
"""A resized crop is a part of decoding, on the CPU by its nature."""


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_batches_after_the_first_of_an_epoch(name, data):
    # the first one draws the order of the samples, and what happens to each in this epoch
    digits = {"name": "digits", "n_train": 96, "n_test": 64, "augment": [name], "crop_padding": 1, "cutout_size": 3}
    batches = session_on_meta(config_of(data=digits), data).loader.epoch(0)
    next(batches)
    with OnOneDevice():
        rest = list(batches)
    assert rest
    assert all(tensor.is_meta for batch in rest for tensor in (batch.x, batch.y, batch.index))


WAITS = {
    "item": lambda t: t.sum().item(),
    "cpu": lambda t: t.cpu(),
    "to the CPU": lambda t: t.to("cpu"),
    "truth": lambda t: 1 if t.sum() > 0 else 0,
    "mask": lambda t: t[t > 0],
    "nonzero": lambda t: t.nonzero(),
    "tolist": lambda t: t.tolist(),
    "numpy": lambda t: t.numpy(),
    "unique": lambda t: t.unique(),
    "equal": lambda t: torch.equal(t, t),
}
STRAYS = {
    "factory": lambda t: torch.zeros(len(t)),
    "literal": lambda t: torch.tensor([1.0]),
    "index": lambda t: t[torch.arange(1)],
    "known index": lambda t: t[HELD],
    "scalar": lambda t: t * torch.tensor(2.0),
    "known scalar": lambda t: t * HELD_SCALAR,
    "assigned": lambda t: t.clone().index_fill_(0, HELD, 0.0),
    "moved": lambda t: HELD.to(t.device),
    "copied": lambda t: torch.empty_like(t[:1]).view(-1)[:1].copy_(HELD),
    "masked assignment": lambda t: t.clone().__setitem__(t > 0, t.flatten()),
    "stream of the CPU": lambda t: torch.rand(2, generator=torch.Generator()),
    "another device": lambda t: t + HELD_ROW.to(t.dtype),
}
HELD, HELD_SCALAR, HELD_ROW = torch.zeros(1, dtype=torch.int64), torch.tensor(1.0), torch.zeros(1)
FAULTS = {**WAITS, **STRAYS}


class FaultyObjective(PgdAt):
    fault = staticmethod(lambda t: None)

    def loss(self, outputs, targets):
        FaultyObjective.fault(outputs.main.detach())
        return super().loss(outputs, targets)


class FaultyLabels(Hard):
    fault = staticmethod(lambda t: None)

    def targets(self, batch, clock):
        FaultyLabels.fault(batch.x)
        return super().targets(batch, clock)


class FaultyRegularizer(Regularizer):
    fault = staticmethod(lambda t: None)

    def stepped(self, clock):
        FaultyRegularizer.fault(next(self.context.model.parameters()).detach())


class FaultyAttack(PGD):
    fault = staticmethod(lambda t: None)

    def _climb(self, model, x, *rest):
        FaultyAttack.fault(x)
        return super()._climb(model, x, *rest)


class FaultyNetwork(nn.Module):
    fault = staticmethod(lambda t: None)

    def __init__(self, n_classes):
        super().__init__()
        self.linear = nn.Linear(64, n_classes)

    def forward(self, x):
        logits = self.linear(x.flatten(1))
        FaultyNetwork.fault(logits.detach())
        return logits


COMPONENTS = [
    (OBJECTIVES, FaultyObjective),
    (LABELS, FaultyLabels),
    (REGULARIZERS, FaultyRegularizer),
    (ATTACKS, FaultyAttack),
]


@pytest.fixture
def faulty(data):
    """A session of components that are registered like any other, and so would be covered by the tests above."""
    for registry, component in COMPONENTS:
        registry["faulty"] = component
    try:
        assert all("faulty" in list(registry) for registry, _ in COMPONENTS)
        attack = {"name": "faulty", "eps": 0.1, "n_steps": 1}
        model = {"name": f"{__name__}:FaultyNetwork"}
        yield session_on_meta(config_of("faulty", "faulty", "faulty", attack=attack, model=model), data)
    finally:
        for registry, _ in COMPONENTS:
            del registry["faulty"]


PLACES = (*(component for _, component in COMPONENTS), FaultyNetwork)


@pytest.mark.parametrize("fault", list(FAULTS))
def test_every_fault_fails_wherever_it_is_put(fault, faulty, monkeypatch):
    kind = OffDevice if fault in STRAYS else (RuntimeError, NotImplementedError, TypeError)
    batch = first_batch(faulty)
    for place in PLACES:
        with monkeypatch.context() as patch:
            patch.setattr(place, "fault", staticmethod(FAULTS[fault]))
            with pytest.raises(kind):
                step_on_one_device(faulty, batch)
    step_on_one_device(faulty, batch)


def test_a_counter_on_the_cpu_may_be_counted_on():
    counter = torch.zeros((), dtype=torch.int64)
    with OnOneDevice():
        counter += 1
        assert int(counter) == 1


def test_a_fault_in_a_teacher_and_in_a_tally_fails_too(data, monkeypatch):
    session = session_on_meta(config_of(labels="kd"), data)
    batch, teacher = first_batch(session), FaultyNetwork(data.n_classes).to(META)
    session.teachers.load = lambda _: teacher
    step_on_one_device(session, batch)
    with monkeypatch.context() as patch:
        patch.setattr(FaultyNetwork, "fault", staticmethod(WAITS["item"]))
        with pytest.raises(RuntimeError, match="item"):
            step_on_one_device(session, batch)
    with monkeypatch.context() as patch:
        patch.setattr("overfit_lab.training.tally.total_norm", lambda grads: grads[0].norm().cpu())
        with pytest.raises(NotImplementedError):
            step_on_one_device(session, batch)
