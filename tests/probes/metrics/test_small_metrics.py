"""Confidence, features and memorisation against hand computations and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs
from sklearn.metrics import roc_auc_score

from factories import make_snapshot
from overfit_lab.config.catalog import PROBES
from overfit_lab.probes.base import run_probe
from overfit_lab.probes.metrics.calibration import reliability
from overfit_lab.probes.metrics.confidence import confidences, label_probability
from overfit_lab.probes.metrics.features import distance_ratio, knn_accuracy, silhouette, tsne
from overfit_lab.probes.metrics.layers import group_by_layer, layer_of
from overfit_lab.probes.metrics.memorisation import detection_auc, hits, losses
from overfit_lab.probes.metrics.temperature import fit_temperature


def test_confidences_by_hand():
    probs = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], dtype=torch.float64)
    confidence, correct = confidences(probs.log(), torch.tensor([0, 1]))
    torch.testing.assert_close(confidence, torch.tensor([0.7, 0.6], dtype=torch.float64))
    assert correct.tolist() == [True, False]
    found = label_probability(probs.log(), torch.tensor([0, 1]))
    torch.testing.assert_close(found, torch.tensor([0.7, 0.3], dtype=torch.float64))


def test_an_answer_is_the_largest_logit_also_where_probabilities_are_equal():
    """Logits that differ by less than a probability can tell had the first class for an answer, here alone."""
    z, y = torch.tensor([[0.0, 1e-20], [1e-20, 0.0]]), torch.tensor([1, 1])
    assert confidences(z, y)[1].tolist() == hits(z, y).tolist() == [True, False]
    assert reliability(z, y, 1).accuracy.tolist() == [0.5]
    assert reliability(z[:1], y[:1], 1).accuracy.tolist() == [1]


def test_knn_accuracy_equals_a_loop():
    x, y = make_blobs(60, centers=3, cluster_std=4.0, random_state=0)
    hits = 0
    for i in range(60):
        distance = np.linalg.norm(x - x[i], axis=1)
        distance[i] = np.inf
        votes = np.bincount(y[np.argsort(distance)[:5]], minlength=3)
        hits += votes.argmax() == y[i]
    assert knn_accuracy(x, y, 5) == pytest.approx(hits / 60)
    assert 0.4 < hits / 60 < 1


def test_distance_ratio_by_hand():
    x = np.array([[0.0, 1.0], [0.0, -1.0], [4.0, 1.0], [4.0, -1.0]])
    assert distance_ratio(x, np.array([0, 0, 1, 1])) == pytest.approx(1 / 4)
    assert distance_ratio(x, np.zeros(4, dtype=int)) is None


def test_silhouette_of_two_pairs_by_hand():
    x = np.array([[0.0], [1.0], [10.0], [11.0]])
    expected = np.mean([1 - 1 / 10.5, 1 - 1 / 9.5, 1 - 1 / 9.5, 1 - 1 / 10.5])
    assert silhouette(x, np.array([0, 0, 1, 1])) == pytest.approx(expected)
    assert silhouette(x, np.zeros(4)) is None
    assert silhouette(x, np.arange(4)) is None


def test_tsne_is_seeded_and_keeps_separate_groups_apart():
    x, y = make_blobs(90, n_features=10, centers=3, cluster_std=0.5, random_state=1)
    first, second = (tsne(x, seed=3, perplexity=10) for _ in range(2))
    assert np.array_equal(first, second)
    assert first.shape == (90, 2)
    assert knn_accuracy(first, y, 5) == 1.0
    moved = tsne(x, seed=3, initial=first.astype(np.float64), perplexity=10)
    assert np.corrcoef(first.ravel(), moved.ravel())[0, 1] > 0.9


def test_detection_auc_against_scikit_learn_and_the_pair_count():
    stream = torch.Generator().manual_seed(0)
    corrupted = torch.rand(80, generator=stream) < 0.3
    loss = torch.rand(80, generator=stream).double().round(decimals=1) + 0.3 * corrupted
    a, b = loss[corrupted], loss[~corrupted]
    pairs = (a[:, None] > b).double() + 0.5 * (a[:, None] == b).double()
    found = detection_auc(loss, corrupted)
    assert found == pytest.approx(pairs.mean().item())
    assert found == pytest.approx(roc_auc_score(corrupted.numpy(), loss.numpy()))
    assert detection_auc(loss, torch.zeros(80, dtype=torch.bool)) is None


def test_detection_auc_ranks_an_infinite_loss_and_hides_no_undefined_one():
    corrupted = torch.tensor([True, False, True, False])
    loss = torch.tensor([float("inf"), 1.0, 0.5, 0.2], dtype=torch.float64)
    assert detection_auc(loss, corrupted) == pytest.approx(3 / 4)
    loss[3] = float("nan")
    assert np.isnan(detection_auc(loss, corrupted))


def test_memorisation_counts_both_portions():
    snapshot = make_snapshot()
    probe = PROBES["memorisation"](PROBES["memorisation"].Options(n=60, inputs=("clean",)))
    found = {value.field: value for value in run_probe(probe, snapshot)[0].values}
    view = snapshot.view("train", "clean")
    predicted, bad = view.logits.argmax(1), view.y != view.y_true
    assert torch.equal(view.corrupted, bad)
    assert found["share_untouched"].value == pytest.approx(48 / 60)
    assert found["acc_given/corrupted"].n == 12
    assert found["acc_given/corrupted"].value == pytest.approx((predicted == view.y)[bad].double().mean().item())
    assert found["acc_true/untouched"].value == pytest.approx((predicted == view.y_true)[~bad].double().mean().item())
    assert found["loss_given/all"].value == pytest.approx(losses(view.logits, view.y).mean().item())
    assert found["acc_true/all"].labels == "true"
    truth = torch.nn.functional.cross_entropy(view.logits.double(), view.y_true, reduction="none")
    for part, mask in (("all", bad | True), ("untouched", ~bad), ("corrupted", bad)):
        value = found[f"loss_true/{part}"]
        assert value.value == pytest.approx(truth[mask].mean().item())
        assert value.stderr == pytest.approx(truth[mask].std().item() / mask.sum().item() ** 0.5)
        assert (value.labels, value.n) == ("true", int(mask.sum()))


def test_a_label_that_noise_drew_again_is_corrupted_but_not_wrong_so_fitting_it_is_no_memorisation():
    snapshot = make_snapshot()
    train = snapshot.data.splits["train"]
    train.corrupted.fill_(True)
    probe = PROBES["memorisation"](PROBES["memorisation"].Options(n=60, inputs=("clean",)))
    found = {value.field: value for value in run_probe(probe, snapshot)[0].values}
    view = snapshot.view("train", "clean")
    wrong = view.y != view.y_true
    assert found["acc_given/corrupted"].n == 60
    assert found["fitted"].n == 12 == int(wrong.sum())
    assert found["fitted"].value == pytest.approx((view.logits.argmax(1) == view.y)[wrong].double().mean().item())
    train.y.copy_(train.y_true)
    assert "fitted" not in {value.field for value in run_probe(probe, make_snapshot_of(train, snapshot))[0].values}


def make_snapshot_of(train, other):
    """A fresh snapshot of the same model, whose views are not yet drawn."""
    fresh = make_snapshot(other.model)
    fresh.data.splits["train"] = train
    return fresh


def test_layers_are_grouped_in_order():
    names = ["conv1.weight", "stages.0.0.bn1.weight", "stages.0.0.bn1.bias", "stages.1.0.conv1.weight", "scale"]
    assert list(group_by_layer(names)) == ["conv1", "stages.0.0.bn1", "stages.1.0.conv1", "model"]
    assert list(group_by_layer(names, 2)) == ["conv1", "stages.0", "stages.1", "model"]
    assert layer_of("linear.weight") == "linear"


def test_the_temperature_of_answers_that_are_all_right_is_zero():
    """The search stopped wherever the loss was already 0, so confident right answers had 38, and timid ones 0.026."""
    y = torch.tensor([0, 1])
    for margin in (1.0, 100.0, 1e4):
        logits = margin * torch.eye(2)
        assert fit_temperature(logits, y) == 0
        assert fit_temperature(logits, 1 - y) == math.inf
    tied_and_right = torch.tensor([[1.0, 1.0], [5.0, 0.0]])
    assert fit_temperature(tied_and_right, torch.tensor([1, 0])) == 0


def test_where_no_temperature_makes_a_difference_there_is_none():
    """The search ended at an end of the range, and a model without an opinion was called overconfident."""
    assert math.isnan(fit_temperature(torch.full((5, 3), 2.5), torch.tensor([0, 1, 2, 0, 0])))
    assert math.isnan(fit_temperature(torch.zeros(1, 2), torch.tensor([1])))


def test_distance_ratio_of_points_that_coincide_is_none():
    """The means of classes of other sizes round otherwise, and what came out was one rounding error over another."""
    for n in (7, 16, 40):
        points = np.tile([0.1, -1.7, 3.3], (n, 1))
        assert distance_ratio(points, np.arange(n) % 3) is None
        assert distance_ratio(points + 1e-6 * np.eye(n, 3), np.arange(n) % 3) is not None
