"""Arrays of the user's own."""

import numpy as np
import pytest
import torch

from overfit_lab.data.dataset import dataset_from_arrays
from overfit_lab.errors import ConfigError

X = np.random.default_rng(1).integers(0, 256, (6, 1, 4, 4), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def test_arrays_as_numbers_or_floats_give_the_same_bytes():
    a = dataset_from_arrays((X, LABELS), (X[:3], LABELS[:3]))
    b = dataset_from_arrays((torch.tensor(X) / 255, torch.tensor(LABELS)))
    assert torch.equal(a.splits["train"].x, b.splits["train"].x)
    assert a.n_classes == 3
    assert set(a.splits) == {"train", "test"}


def test_arrays_with_the_true_labels_know_the_corrupted_ones():
    data = dataset_from_arrays((X, LABELS), y_true=np.array([0, 1, 2, 1, 1, 2]))
    assert data.splits["train"].corrupted.tolist() == [False, False, False, True, False, False]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((X[:, 0], LABELS), r"shape \(6, 4, 4\); expected \(N, C, H, W\)"),
        ((X.transpose(0, 2, 3, 1).repeat(2, 1), LABELS), "channels first"),
        ((X[:0], LABELS[:0]), "there are none"),
        ((X, LABELS[:2]), r"labels have shape \(2,\)"),
        ((X, LABELS - 1), "expected integers 0..K-1"),
        ((X, LABELS / 2), "expected integers 0..K-1"),
        ((X / 1.0, LABELS), r"expected \[0, 1\]"),
        ((X / 300.0, LABELS), "not k/255"),
        ((X.astype(np.int32), LABELS), "expected uint8"),
        ((np.full(X.shape, np.nan), LABELS), r"from nan to nan; expected \[0, 1\]"),
        ((torch.tensor(X / 255, dtype=torch.bfloat16), LABELS), "torch.bfloat16 and not k/255"),
        ((X, list("abcabc")), "train labels: expected an array of numbers"),
        (X, "expected a pair of images and labels, got ndarray"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays, message):
    with pytest.raises(ConfigError, match=message):
        dataset_from_arrays(arrays)


def test_arrays_that_do_not_go_together_are_refused():
    with pytest.raises(ConfigError, match="differ in shape"):
        dataset_from_arrays((X, LABELS), (np.zeros((2, 1, 5, 5), dtype=np.uint8), LABELS[:2]))
    with pytest.raises(ConfigError, match="2 class names"):
        dataset_from_arrays((X, LABELS), class_names=["a", "b"])
    with pytest.raises(ConfigError, match="y_true"):
        dataset_from_arrays((X, LABELS), y_true=LABELS[:2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"y_true": LABELS - 1}, "y_true: expected integers"),
        ({"y_true": LABELS + 0.5}, "y_true: expected integers"),
        ({"y_true": LABELS + 5, "class_names": ["a", "b", "c"]}, "label 7: there are 3 class names"),
        ({"corrupted": LABELS}, "corrupted: expected True and False"),
        ({"corrupted": [True]}, r"corrupted: shape \(1,\), expected \(6,\)"),
        ({"mean": [0.5, 0.5]}, "mean: 2 values, expected 1"),
        ({"std": [0.0]}, "expected numbers above 0"),
    ],
)
def test_what_comes_with_arrays_is_checked(options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        dataset_from_arrays((X, LABELS), **options)
    assert "\n" not in str(caught.value)


def test_every_byte_survives_as_a_float_of_each_precision():
    every = np.arange(256, dtype=np.uint8).reshape(4, 1, 8, 8)
    for dtype in (torch.float64, torch.float32, torch.float16):
        data = dataset_from_arrays((torch.tensor(every / 255).to(dtype), [0, 1, 0, 1]))
        assert data.splits["train"].x.numpy().tobytes() == every.tobytes()


def test_read_only_reversed_and_unsigned_arrays_are_taken():
    frozen = X[..., ::-1]
    frozen.flags.writeable = False
    data = dataset_from_arrays((frozen, LABELS.astype(np.uint16)), mean=np.array([0.3]), std=np.array([0.2]))
    assert data.splits["train"].x.numpy().tobytes() == np.ascontiguousarray(frozen).tobytes()
    assert data.splits["train"].y.tolist() == LABELS.tolist()
    assert (data.mean, data.std) == ((0.3,), (0.2,))


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_later_changes_of_the_users_arrays_do_not_reach_the_data(kind):
    images, labels = kind(X.tolist()), kind(LABELS.tolist())
    images = images.astype(np.uint8) if kind is np.array else images.to(torch.uint8)
    data = dataset_from_arrays((images, labels))
    images[:], labels[:] = 0, 0
    assert data.splits["train"].x.numpy().tobytes() == X.tobytes()
    assert data.splits["train"].y.tolist() == LABELS.tolist()
