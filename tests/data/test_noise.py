"""Label noise: rates, masks, maps."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overfit_lab.config import NoiseConfig
from overfit_lab.data.base import CIFAR10_CLASSES, CIFAR10_CONFUSIONS, confusions_of
from overfit_lab.data.noise import corrupt

K, N = 10, 20_000
Y = torch.arange(N) % K


def noisy(kind, rate, seed=0, y=Y, **kwargs):
    return corrupt(y, NoiseConfig(kind=kind, rate=rate), n_classes=K, seed=seed, **kwargs)


@pytest.mark.parametrize("eta", [0.2, 0.4, 0.6])
def test_symmetric_resamples_eta_of_which_one_in_k_stays_the_same(eta):
    y, mask = noisy("symmetric", eta)
    for share, expected in ((mask.double().mean(), eta), ((y != Y).double().mean(), eta * (1 - 1 / K))):
        assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / N)
    assert torch.equal(y[~mask], Y[~mask])
    counts = torch.bincount(y[mask], minlength=K).double()
    assert ((counts - mask.sum() / K) ** 2 / (mask.sum() / K)).sum() < 27.9  # chi-squared, 9 degrees, p = .001


@settings(max_examples=30, deadline=None)
@given(n=st.integers(2, 400), eta=st.floats(0, 1), seed=st.integers(0, 1000))
def test_symmetric_flip_moves_an_exact_share_to_other_classes(n, eta, seed):
    y = torch.arange(n) % K
    found, mask = noisy("symmetric-flip", eta, seed, y)
    assert int(mask.sum()) == round(eta * n)
    assert torch.equal(found != y, mask)
    assert found.min() >= 0
    assert found.max() < K


def test_asymmetric_follows_the_confusions_of_cifar10():
    y, mask = noisy("asymmetric", 0.3, confusions=CIFAR10_CONFUSIONS)
    names = {CIFAR10_CLASSES[int(a)]: CIFAR10_CLASSES[int(b)] for a, b in zip(Y[mask], y[mask], strict=True)}
    assert names == {
        "truck": "automobile",
        "bird": "airplane",
        "deer": "horse",
        "cat": "dog",
        "dog": "cat",
    }
    assert torch.equal(y[~mask], Y[~mask])
    of_cats = mask[Y == 3].double().mean()
    assert abs(of_cats - 0.3) < 4 * math.sqrt(0.21 / 2000)


def test_asymmetric_elsewhere_goes_to_the_next_class():
    y, mask = noisy("asymmetric", 0.5)
    assert torch.equal(y[mask], (Y[mask] + 1) % K)
    assert confusions_of(("a", "b")) is None


@pytest.mark.parametrize("kind", ["symmetric", "symmetric-flip", "asymmetric"])
def test_noise_is_a_function_of_the_seed_and_leaves_its_input_alone(kind):
    before = Y.clone()
    a, b, c = noisy(kind, 0.4, 1), noisy(kind, 0.4, 1), noisy(kind, 0.4, 2)
    assert torch.equal(a[0], b[0])
    assert torch.equal(a[1], b[1])
    assert not torch.equal(a[0], c[0])
    assert torch.equal(Y, before)


def test_no_noise_is_the_labels_themselves():
    y, mask = corrupt(Y, NoiseConfig(), n_classes=K, seed=0)
    assert torch.equal(y, Y)
    assert not mask.any()
