"""Our PGD beside torchattacks': the same steps from the same starts, on the same model."""

import pytest
import torch
import torchattacks

from overfit_lab.methods.attacks.losses import CrossEntropy
from overfit_lab.methods.attacks.pgd import PGD
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.seeds import derive_generator
from overfit_lab.training.subjects import at_checkpoints, open_run
from overfit_lab.types import to_float

EPS, STEP, N = 0.1, 0.025, 500


@pytest.fixture(scope="module")
def trained(digits_run):
    session = open_run(digits_run, device="cpu")
    (snapshot,) = at_checkpoints(session, digits_run, "final")
    split = snapshot.data.splits["test"]
    index = split.order[:N]
    return snapshot.model.eval(), to_float(split.x[index]), split.y[index]


def n_right(model, x, y):
    with torch.no_grad():
        return int((model(x).argmax(1) == y).sum())


@pytest.mark.parametrize("n_steps", [1, 10, 40])
def test_as_strong_as_torchattacks_from_the_same_starts(trained, n_steps):
    """Within one sample of 500; the example leaves room in both directions."""
    model, x, y = trained
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        theirs = torchattacks.PGD(model, eps=EPS, alpha=STEP, steps=n_steps)(x, y)
        torch.manual_seed(3)
        starts = x + torch.empty_like(x).uniform_(-EPS, EPS)
    attack = PGD(ThreatModel("linf", EPS), step_size=STEP, n_steps=n_steps)
    ours = attack(model, x, CrossEntropy(y), generator=derive_generator(0), start=lambda *_: starts)
    right, right_by_peer = n_right(model, ours, y), n_right(model, theirs, y)
    assert abs(right - right_by_peer) <= 1
    assert (ours - theirs).abs().mean() < 1e-4
    assert right < n_right(model, x, y) - (5 if n_steps == 1 else 20)
    assert right > 100


def test_as_strong_as_torchattacks_with_starts_of_its_own(trained):
    model, x, y = trained
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        theirs = torchattacks.PGD(model, eps=EPS, alpha=STEP, steps=40)(x, y)
    ours = PGD(ThreatModel("linf", EPS), step_size=STEP, n_steps=40)(
        model, x, CrossEntropy(y), generator=derive_generator(1)
    )
    assert n_right(model, ours, y) <= n_right(model, theirs, y) + 3


def test_l2_as_strong_as_torchattacks(trained):
    model, x, y = trained
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        theirs = torchattacks.PGDL2(model, eps=0.6, alpha=0.15, steps=20, random_start=False)(x, y)
    ours = PGD(ThreatModel("l2", 0.6), step_size=0.15, n_steps=20, random_start=False)(
        model, x, CrossEntropy(y), generator=derive_generator(1)
    )
    assert abs(n_right(model, ours, y) - n_right(model, theirs, y)) <= 1
