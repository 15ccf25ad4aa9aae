"""Calibration errors by hand, and against torchmetrics and scikit-learn."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from overfit_lab.probes.metrics.calibration import adaptive_ece, brier, classwise_ece, ece, mce, nll, reliability


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


def by_hand_adaptive(logits, y, n_bins):
    """Independent: exact fractions, group by group; ties share their accuracy."""
    p = torch.softmax(logits.double(), 1)
    rows = [(max(row), float(row.index(max(row)) == label)) for row, label in zip(p.tolist(), y.tolist(), strict=True)]
    rows.sort()
    shared = [
        (
            Fraction(c),
            Fraction(sum(h for d, h in rows if abs(d - c) < 1e-13)) / sum(abs(d - c) < 1e-13 for d, _ in rows),
        )
        for c, _ in rows
    ]
    total, n = Fraction(0), len(rows)
    for m in range(n_bins):
        low, high = Fraction(n * m, n_bins), Fraction(n * (m + 1), n_bins)
        inside = [max(Fraction(0), min(high, i + 1) - max(low, i)) for i in range(n)]
        total += abs(sum((w * (h - c) for w, (c, h) in zip(inside, shared, strict=True)), Fraction(0)))
    return float(total / len(rows))


def by_hand_classwise(logits, y, n_bins):
    """Independent: loops over classes and bins in float64."""
    p = torch.softmax(logits.double(), 1).numpy()
    total = 0.0
    for k in range(p.shape[1]):
        for m in range(n_bins):
            inside = (p[:, k] > m / n_bins) & (p[:, k] <= (m + 1) / n_bins)
            if inside.any():
                total += inside.mean() * abs((y.numpy()[inside] == k).mean() - p[inside, k].mean())
    return total / p.shape[1]


@pytest.mark.parametrize(("n", "n_bins"), [(200, 15), (200, 7), (31, 10), (5, 15), (1, 3)])
def test_adaptive_ece_equals_exact_fractions(n, n_bins):
    logits, y = large_example()
    logits, y = logits[:n].round(), y[:n]
    assert adaptive_ece(logits, y, n_bins) == pytest.approx(by_hand_adaptive(logits, y, n_bins), abs=1e-12)


def test_adaptive_ece_by_hand():
    """Four samples in two bins: (.6, right) (.7, wrong) | (.8, right) (.9, right)."""
    conf = [0.9, 0.6, 0.8, 0.7]
    logits, y = logits_of([[c, 1 - c] for c in conf]), torch.tensor([0, 0, 0, 1])
    assert adaptive_ece(logits, y, 2) == pytest.approx((abs(1 - 1.3) + abs(2 - 1.7)) / 4)
    assert adaptive_ece(logits, y, 1) == pytest.approx(abs(3 / 4 - 0.75), abs=1e-12)


def test_classwise_ece_equals_a_float64_loop_and_the_mean_of_binary_errors_of_torchmetrics():
    logits, y = large_example()
    found = classwise_ece(logits, y)
    assert found == pytest.approx(by_hand_classwise(logits, y, 15), abs=1e-12)
    p = torch.softmax(logits, 1).T.contiguous()
    theirs = [binary_calibration_error(p[k], (y == k).int(), n_bins=15, norm="l1").item() for k in range(10)]
    assert found == pytest.approx(np.mean(theirs), abs=1e-5)
    assert classwise_ece(logits, y, 3) == pytest.approx(by_hand_classwise(logits, y, 3), abs=1e-12)


def test_labels_in_the_shares_that_are_predicted_are_calibrated_and_a_constant_classifier_is_not():
    """Ten samples of (.7, .2, .1) with 7, 2 and 1 labels, in any order; then the same with all labels 1."""
    logits = logits_of([[0.7, 0.2, 0.1]] * 10)
    y = torch.tensor([1, 0, 0, 2, 0, 1, 0, 0, 0, 0])
    for bins in (1, 3, 15):
        assert adaptive_ece(logits, y, bins) == pytest.approx(0, abs=1e-12)
        assert classwise_ece(logits, y, bins) == pytest.approx(0, abs=1e-12)
        assert adaptive_ece(logits, y * 0 + 1, bins) == pytest.approx(0.7)
        assert classwise_ece(logits, y * 0 + 1, bins) == pytest.approx((0.7 + 0.8 + 0.1) / 3)
    assert ece(reliability(logits, y)) == pytest.approx(0, abs=1e-12)


def test_errors_of_the_other_probabilities_are_seen_by_the_classwise_error_alone():
    logits = logits_of([[0.6, 0.4, 1e-9]] * 10)
    y = torch.tensor([0] * 6 + [2] * 4)
    assert adaptive_ece(logits, y) == pytest.approx(0, abs=1e-8)
    assert classwise_ece(logits, y) == pytest.approx(0.8 / 3, abs=1e-8)


def test_labels_drawn_from_the_predictions_have_errors_that_vanish_with_n():
    stream = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(40_000, 5, generator=stream)
    y = torch.multinomial(torch.softmax(logits, 1), 1, generator=stream).squeeze(1)
    assert adaptive_ece(logits, y) < 0.01
    assert classwise_ece(logits, y) < 0.01
    assert adaptive_ece(3 * logits, y) > 0.1
    assert classwise_ece(3 * logits, y) > 0.05
