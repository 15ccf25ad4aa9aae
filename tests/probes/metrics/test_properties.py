"""What holds for numbers of logits and labels, whatever they are: calibration, confidence, memorisation."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as drawn

from cases import EIGHTHS, labelled, renamed, shuffled, steady
from overfit_lab.probes.metrics.calibration import (
    adaptive_ece,
    brier,
    classwise_ece,
    ece,
    mce,
    mean_and_stderr,
    nll,
    reliability,
)
from overfit_lab.probes.metrics.confidence import confidences, label_probability
from overfit_lab.probes.metrics.memorisation import detection_auc, hits, losses

bin_counts = st.integers(1, 20)


def errors(z, y, n_bins):
    bins = reliability(z, y, n_bins)
    return {
        "ece": ece(bins),
        "ece_adaptive": adaptive_ece(z, y, n_bins),
        "ece_classwise": classwise_ece(z, y, n_bins),
        "mce": mce(bins),
        "brier": brier(z, y)[0],
        "nll": nll(z, y)[0],
    }


@steady
@given(labelled(), bin_counts)
def test_calibration_errors_are_in_their_ranges(case, n_bins):
    z, y = case
    found = errors(z, y, n_bins)
    assert 0 <= found["ece"] <= found["mce"] + 1e-12
    assert found["mce"] <= 1
    assert 0 <= found["ece_adaptive"] <= 1
    assert 0 <= found["ece_classwise"] <= 1
    assert 0 <= found["brier"] <= 2
    assert 0 <= found["nll"] <= 2e4 + np.log(7)
    for stderr in (brier(z, y)[1], nll(z, y)[1]):
        assert (stderr is None) == (len(y) == 1)
        assert stderr is None or stderr >= 0


@steady
@given(labelled(), bin_counts)
def test_bins_hold_every_sample_once_where_its_confidence_lies(case, n_bins):
    z, y = case
    bins = reliability(z, y, n_bins)
    assert bins.count.sum() == len(y)
    filled = bins.count > 0
    middle = (np.arange(n_bins) + 0.5) / n_bins
    assert (np.abs(bins.confidence - middle)[filled] <= 0.5 / n_bins + 1e-12).all()
    assert ((bins.accuracy >= 0) & (bins.accuracy <= 1)).all()
    assert (bins.table()[~filled] == 0).all()
    confidence, right = confidences(z, y)
    assert (bins.count * bins.accuracy).sum() == pytest.approx(int(right.sum()))
    assert (bins.count * bins.confidence).sum() == pytest.approx(confidence.sum().item())


@steady
@given(labelled())
def test_with_one_bin_the_adaptive_error_is_that_of_the_means(case):
    z, y = case
    confidence, right = confidences(z, y)
    expected = abs(right.double().mean() - confidence.mean()).item()
    assert adaptive_ece(z, y, 1) == pytest.approx(expected, abs=1e-12)
    assert adaptive_ece(z, y, 7) >= expected - 1e-12


@steady
@given(labelled(), bin_counts, st.data())
def test_calibration_errors_do_not_depend_on_the_order_of_samples(case, n_bins, data):
    """To 1e-9 relative: the sums are taken in another order."""
    z, y = case
    order = shuffled(data.draw, len(y))
    assert errors(z[order], y[order], n_bins) == pytest.approx(errors(z, y, n_bins), rel=1e-9, abs=1e-12)
    for score in (brier, nll) if len(y) > 1 else ():
        assert score(z[order], y[order])[1] == pytest.approx(score(z, y)[1], rel=1e-6, abs=1e-9)


@steady
@given(labelled(values=EIGHTHS), bin_counts, st.data())
def test_calibration_errors_do_not_depend_on_what_is_added_to_a_row(case, n_bins, data):
    """Exactly, since adding these numbers is exact."""
    z, y = case
    shift = torch.from_numpy(data.draw(drawn.arrays(np.float32, (len(y), 1), elements=EIGHTHS)))
    assert errors(z + shift, y, n_bins) == errors(z, y, n_bins)


@steady
@given(labelled(untied=True), bin_counts, st.data())
def test_calibration_errors_do_not_depend_on_the_numbers_of_classes(case, n_bins, data):
    """Ties aside, where the answer is the first of the largest logits."""
    z, y = case
    assert errors(*renamed(data.draw, z, y), n_bins) == pytest.approx(errors(z, y, n_bins), rel=1e-9, abs=1e-12)


@steady
@given(labelled(untied=True), bin_counts)
def test_one_bin_has_the_error_of_the_means(case, n_bins):
    z, y = case
    confidence, right = confidences(z, y)
    whole = abs(confidence.mean().item() - right.double().mean().item())
    assert ece(reliability(z, y, 1)) == pytest.approx(whole, abs=1e-12)
    assert ece(reliability(z, y, n_bins)) >= whole - 1e-12


@steady
@given(labelled(), bin_counts)
def test_a_set_that_is_there_twice_has_the_same_errors(case, n_bins):
    z, y = case
    twice = errors(torch.cat([z, z]), torch.cat([y, y]), n_bins)
    assert twice == pytest.approx(errors(z, y, n_bins), rel=1e-9, abs=1e-12)


@steady
@given(labelled(values=EIGHTHS))
def test_scores_of_the_mean_are_means_of_the_scores(case):
    """Each sample's score alone, with a standard error of the mean as numpy has it."""
    z, y = case
    for score in (brier, nll):
        single = [score(z[i : i + 1], y[i : i + 1])[0] for i in range(len(y))]
        mean, stderr = score(z, y)
        assert mean == pytest.approx(np.mean(single), rel=1e-9, abs=1e-12)
        if len(y) > 1:
            assert stderr == pytest.approx(np.std(single, ddof=1) / np.sqrt(len(y)), rel=1e-6, abs=1e-9)


@steady
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_mean_and_standard_error_are_those_of_numpy(values):
    mean, stderr = mean_and_stderr(torch.tensor(values, dtype=torch.float64))
    assert mean == pytest.approx(np.mean(values), rel=1e-9, abs=1e-6)
    assert min(values) - 1e-6 <= mean <= max(values) + 1e-6
    if len(values) == 1:
        assert stderr is None
    else:
        assert stderr == pytest.approx(np.std(values, ddof=1) / np.sqrt(len(values)), rel=1e-9, abs=1e-6)


@steady
@given(labelled(), st.data())
def test_confidence_is_at_least_that_of_a_guess_and_of_the_label(case, data):
    z, y = case
    confidence, right = confidences(z, y)
    label = label_probability(z, y)
    assert ((confidence >= 1 / z.shape[1] - 1e-12) & (confidence <= 1)).all()
    assert ((label >= 0) & (label <= confidence)).all()
    assert torch.equal(label[right], confidence[right])
    assert torch.equal(right.double(), hits(z, y))
    order = shuffled(data.draw, len(y))
    assert torch.equal(confidences(z[order], y[order])[0], confidence[order])
    assert torch.equal(label_probability(z[order], y[order]), label[order])


@steady
@given(labelled(untied=True), st.data())
def test_confidence_does_not_depend_on_the_numbers_of_classes(case, data):
    z, y = case
    other_z, other_y = renamed(data.draw, z, y)
    torch.testing.assert_close(confidences(other_z, other_y)[0], confidences(z, y)[0], rtol=1e-12, atol=0)
    assert torch.equal(confidences(other_z, other_y)[1], confidences(z, y)[1])
    torch.testing.assert_close(label_probability(other_z, other_y), label_probability(z, y), rtol=1e-12, atol=0)


@steady
@given(labelled())
def test_losses_of_the_label_are_its_probability_in_nats(case):
    """And the likelihood of a set is their mean."""
    z, y = case
    found = losses(z, y)
    assert (found >= 0).all()
    torch.testing.assert_close(torch.exp(-found), label_probability(z, y), rtol=1e-9, atol=1e-12)
    assert found.mean().item() == pytest.approx(nll(z, y)[0], rel=1e-12)


@steady
@given(
    st.lists(st.tuples(st.integers(0, 5) | st.just(float("inf")), st.booleans()), min_size=1, max_size=20), st.data()
)
def test_detection_is_a_share_of_pairs(pairs, data):
    """By ranks alone: no increasing function, no order of samples changes it; the other side's is the rest to one."""
    loss = torch.tensor([float(value) for value, _ in pairs], dtype=torch.float64)
    bad = torch.tensor([flag for _, flag in pairs])
    found = detection_auc(loss, bad)
    if bad.all() or not bad.any():
        assert found is None
        return
    a, b = loss[bad], loss[~bad]
    wins = (a[:, None] > b).double() + 0.5 * (a[:, None] == b).double()
    assert found == pytest.approx(wins.mean().item(), abs=1e-12)
    assert detection_auc(loss, ~bad) == pytest.approx(1 - found, abs=1e-12)
    assert detection_auc(loss**3 + 1, bad) == pytest.approx(found, abs=1e-12)
    order = shuffled(data.draw, len(bad))
    assert detection_auc(loss[order], bad[order]) == pytest.approx(found, abs=1e-12)
