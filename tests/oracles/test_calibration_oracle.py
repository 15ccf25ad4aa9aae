"""Calibration errors by hand, and against torchmetrics and scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from overfit_lab.metrics.calibration import brier, ece, mce, nll, reliability


def logits_of(probs):
    return torch.log(torch.tensor(probs, dtype=torch.float64))


def test_ece_and_mce_by_hand():
    """Five bins of width .2; confidences .9 .9 .7 .5 .55 fall into the fifth, fifth, fourth, third and third bin."""
    probs = [[0.9, 0.1, 0.0001], [0.9, 0.05, 0.05], [0.7, 0.2, 0.1], [0.3, 0.5, 0.2], [0.25, 0.55, 0.2]]
    probs = [[p / sum(row) for p in row] for row in probs]
    y = torch.tensor([0, 1, 0, 1, 2])
    bins = reliability(logits_of(probs), y, n_bins=5)
    conf_high = (probs[0][0] + 0.9) / 2
    expected = 2 / 5 * abs(0.5 - conf_high) + 1 / 5 * abs(1 - 0.7) + 2 / 5 * abs(0.5 - (0.5 + 0.55) / 2)
    assert ece(bins) == pytest.approx(expected, abs=1e-7)
    assert mce(bins) == pytest.approx(max(abs(0.5 - conf_high), 0.3, 0.025), abs=1e-7)
    assert bins.count.tolist() == [0, 0, 2, 1, 2]


def large_example():
    stream = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(10_000, 10, generator=stream)
    y = torch.where(
        torch.rand(10_000, generator=stream) < 0.4, logits.argmax(1), torch.randint(10, (10_000,), generator=stream)
    )
    return logits, y


def float64_ece(logits, y, n_bins=15):
    """Independent: a loop over bins in float64."""
    p = torch.softmax(logits.double(), 1).numpy()
    conf, hit = p.max(1), p.argmax(1) == y.numpy()
    total = 0.0
    for m in range(n_bins):
        inside = (conf > m / n_bins) & (conf <= (m + 1) / n_bins)
        if inside.any():
            total += inside.mean() * abs(hit[inside].mean() - conf[inside].mean())
    return total


def test_ece_equals_a_float64_loop_and_torchmetrics():
    logits, y = large_example()
    found = ece(reliability(logits, y))
    assert found == pytest.approx(float64_ece(logits, y), abs=1e-7)
    theirs = multiclass_calibration_error(torch.softmax(logits, 1), y, num_classes=10, n_bins=15, norm="l1").item()
    assert found == pytest.approx(theirs, abs=1e-5)
    worst = multiclass_calibration_error(torch.softmax(logits, 1), y, num_classes=10, n_bins=15, norm="max").item()
    assert mce(reliability(logits, y)) == pytest.approx(worst, abs=1e-5)


def test_nll_and_brier_against_scikit_learn_and_by_definition():
    logits, y = large_example()
    p = torch.softmax(logits.double(), 1).numpy()
    assert nll(logits, y)[0] == pytest.approx(log_loss(y.numpy(), p, labels=range(10)), rel=1e-9)
    scores = ((p - np.eye(10)[y.numpy()]) ** 2).sum(1)
    assert brier(logits, y)[0] == pytest.approx(scores.mean(), rel=1e-12)
    assert brier(logits, y)[1] == pytest.approx(scores.std(ddof=1) / 100, rel=1e-9)


def test_perfect_and_worst_predictions():
    sure = torch.tensor([[200.0, 0.0], [0.0, 200.0]])
    right, wrong = torch.tensor([0, 1]), torch.tensor([1, 0])
    assert ece(reliability(sure, right)) == pytest.approx(0, abs=1e-12)
    assert ece(reliability(sure, wrong)) == pytest.approx(1, abs=1e-12)
    assert brier(sure, wrong)[0] == pytest.approx(2, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 60), k=st.integers(2, 6), n_bins=st.integers(1, 20))
def test_in_range_and_invariant_to_the_order_of_samples(seed, n, k, n_bins):
    stream = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(n, k, generator=stream)
    y = torch.randint(k, (n,), generator=stream)
    bins = reliability(logits, y, n_bins)
    assert 0 <= ece(bins) <= mce(bins) <= 1
    assert bins.count.sum() == n
    order = torch.randperm(n, generator=stream)
    assert ece(reliability(logits[order], y[order], n_bins)) == pytest.approx(ece(bins), abs=1e-12)
    assert 0 <= brier(logits, y)[0] <= 2


def test_a_confidence_on_an_edge_is_in_the_bin_below_it():
    """Two or four classes that are tied have 1/2 and 1/4 exactly; bins are closed at their upper edge."""
    assert reliability(torch.zeros(1, 2), torch.tensor([0]), n_bins=2).count.tolist() == [1, 0]
    assert reliability(torch.zeros(1, 4), torch.tensor([0]), n_bins=4).count.tolist() == [1, 0, 0, 0]
    assert reliability(torch.tensor([[1e4, 0.0]]), torch.tensor([0]), n_bins=4).count.tolist() == [0, 0, 0, 1]
