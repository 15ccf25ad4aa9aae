"""Targets of the label modes against loops over samples and visits."""

import math

import pytest
import torch

from overfit_lab.config.catalog import LABELS
from overfit_lab.config.options import parse_options
from overfit_lab.methods.labels.base import LabelContext
from overfit_lab.types import Batch, Clock, Outputs

N, K, EPOCHS = 12, 4, 200
GIVEN = torch.arange(N) % K


def make(name, **options):
    return LABELS[name](parse_options(LABELS[name], options, prefix="labels"), LabelContext(GIVEN, K, EPOCHS))


def batch_of(index):
    images = torch.rand(N, 1, 2, 2, generator=torch.Generator().manual_seed(7))
    return Batch(images[index], GIVEN[index], index)


def at(epoch):
    return Clock(epoch=epoch, step=0, n_epochs=EPOCHS)


def softmax(row):
    exps = [math.exp(v - max(row)) for v in row]
    return [e / sum(exps) for e in exps]


def visits():
    """Epoch, samples and logits of a few steps; not every sample is seen equally often."""
    stream = torch.Generator().manual_seed(1)
    for epoch, size in ((0, 5), (89, 6), (90, 4), (100, 9), (101, 3), (149, 2), (180, 3)):
        index = torch.randperm(N, generator=stream)[:size]
        yield epoch, index, torch.randn(size, K, generator=stream)


def test_temporal_ensembling_equals_the_naive_recursion():
    mode = make("te")
    sums = {i: [0.0] * K for i in range(N)}
    seen = set()
    for epoch, index, logits in visits():
        if mode.active(at(epoch)):
            mode.update(batch_of(index), Outputs(clean=logits), at(epoch))
        if epoch >= 90:
            for i, row in zip(index.tolist(), logits.tolist(), strict=True):
                sums[i] = [0.9 * s + 0.1 * p for s, p in zip(sums[i], softmax(row), strict=True)]
                seen.add(i)
    targets = mode.targets(batch_of(torch.arange(N)), at(180))
    assert 3 < len(seen) < N
    for i in range(N):
        expected = [s / sum(sums[i]) for s in sums[i]] if i in seen else [1 / K] * K
        assert targets.consistency[i].tolist() == pytest.approx(expected, abs=1e-6)
        assert targets.probs[i].tolist() == [float(k == GIVEN[i]) for k in range(K)]


@pytest.mark.parametrize(("epoch", "share"), [(90, 0.0), (105, 0.25), (120, 0.5), (150, 1.0), (199, 1.0)])
def test_the_consistency_weight_ramps_up(epoch, share):
    targets = make("te").targets(batch_of(torch.arange(N)), at(epoch))
    assert targets.consistency_weight == pytest.approx(300 * math.exp(-5 * (1 - share) ** 2))


def test_no_consistency_before_the_start():
    assert make("te").targets(batch_of(torch.arange(N)), at(89)).consistency is None


def test_distillation_mixes_the_teachers_prediction_on_the_clean_images():
    def teacher(x):
        return 3 * x.flatten(1)

    parsed = parse_options(LABELS["kd"], {"teacher": "me", "r": 0.3, "temperature": 2.0}, prefix="labels")
    mode = LABELS["kd"](parsed, LabelContext(GIVEN, K, EPOCHS, teacher=lambda name: {"me": teacher}[name]))
    index = torch.tensor([1, 4, 9])
    batch = batch_of(index)
    mode.update(batch, Outputs(), at(0))
    probs = mode.targets(batch, at(0)).probs
    for i, x in enumerate(batch.x):
        p = softmax([3 * v / 2 for v in x.flatten().tolist()])
        expected = [0.3 * v + 0.7 * (k == GIVEN[index[i]].item()) for k, v in enumerate(p)]
        assert probs[i].tolist() == pytest.approx(expected, abs=1e-6)


def als(row, y):
    return [float(k == row.index(min(row))) for k in range(K)]


def second_best(row, y):
    best = max((v, k) for k, v in enumerate(row) if k != y)[1]
    return [float(k == best) for k in range(K)]


def boltzmann(row, y, temperature=0.5):
    exps = [0.0 if k == y else math.exp(v / temperature) for k, v in enumerate(row)]
    return [e / sum(exps) for e in exps]


@pytest.mark.parametrize(
    ("name", "direction", "options"),
    [("als", als, {}), ("second-best", second_best, {}), ("boltzmann", boltzmann, {"temperature": 0.5})],
)
def test_smoothing_towards_wrong_classes(name, direction, options):
    mode = make(name, r=0.25, **options)
    index = torch.tensor([0, 5, 6, 11])
    adv = torch.randn(4, K, generator=torch.Generator().manual_seed(2))
    mode.update(batch_of(index), Outputs(clean=torch.zeros(4, K), adv=adv), at(3))
    probs = mode.targets(batch_of(torch.arange(N)), at(3)).probs
    for i in range(N):
        y = GIVEN[i].item()
        if i in index.tolist():
            q = direction(adv[index.tolist().index(i)].tolist(), y)
        else:
            q = [0.0 if k == y else 1 / (K - 1) for k in range(K)]
        expected = [0.75 * (k == y) + 0.25 * q[k] for k in range(K)]
        assert probs[i].tolist() == pytest.approx(expected, abs=1e-6)
