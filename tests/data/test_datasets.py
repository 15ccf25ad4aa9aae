"""Sources and splits."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from overfit_lab.config import DataConfig
from overfit_lab.data.dataset import fetch, load_dataset
from overfit_lab.data.split import probe_order, stratified_order
from overfit_lab.errors import ConfigError, DataUnavailableError, OverfitLabError, UnknownNameError

CIFAR = Path(__file__).parents[2] / ".." / "shared" / "data" / "cifar10-jpeg"
needs_cifar = pytest.mark.skipif(not CIFAR.is_dir(), reason="CIFAR-10 is not at ../shared/data/cifar10-jpeg")


def load(seed=0, **options):
    return load_dataset(DataConfig(**options), seed, "cpu")


def test_digits_are_scikit_learns_and_split_without_overlap():
    data = load(name="digits", n_train=500, n_val=100)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 500, "val": 100, "test": 797}
    images, y = load_digits(return_X_y=True)
    known = {tuple(np.round(row / 16 * 255).astype(int)): label for row, label in zip(images, y, strict=True)}
    seen = set()
    for split in data.splits.values():
        assert split.x.dtype == torch.uint8
        for image, label in zip(split.x, split.y, strict=True):
            key = tuple(image.flatten().tolist())
            assert known[key] == label
            seen.add(key)
    assert len(seen) > 1390  # 1,397 images, a few of which digits holds twice


@settings(max_examples=25, deadline=None)
@given(counts=st.lists(st.integers(1, 60), min_size=2, max_size=6), seed=st.integers(0, 99), data=st.data())
def test_every_prefix_of_a_stratified_order_is_in_proportion(counts, seed, data):
    y = torch.cat([torch.full((count,), k) for k, count in enumerate(counts)])
    order = stratified_order(y, seed=seed, name="x")
    assert order.sort().values.tolist() == list(range(len(y)))
    n = data.draw(st.integers(1, len(y)))
    for k, count in enumerate(counts):
        taken, share = int((y[order[:n]] == k).sum()), count / len(y)
        # A class is off by d_k (1 - p_k) - p_k (the others' d), and each |d| < 1.
        assert abs(taken - n * share) < 1 + share * (len(counts) - 2) + 1e-9


def test_noise_touches_the_training_split_alone_and_keeps_the_truth():
    data = load(n_train=400, n_val=50, noise={"kind": "symmetric-flip", "rate": 0.25})
    train = data.splits["train"]
    assert int(train.corrupted.sum()) == 100
    assert torch.equal(train.y != train.y_true, train.corrupted)
    clean = load(n_train=400, n_val=50).splits["train"]
    assert torch.equal(clean.x, train.x)
    assert torch.equal(clean.y, train.y_true)
    for name in ("val", "test"):
        assert torch.equal(data.splits[name].y, data.splits[name].y_true)
        assert not data.splits[name].corrupted.any()


def test_the_data_seed_goes_before_the_runs():
    a, b, c = (load(seed=s, n_train=50) for s in (1, 2, 2))
    assert not torch.equal(a.splits["train"].x, b.splits["train"].x)
    assert torch.equal(b.splits["train"].x, c.splits["train"].x)
    one, two = (load_dataset(DataConfig(n_train=50, seed=7), seed, "cpu") for seed in (1, 2))
    assert torch.equal(one.splits["train"].x, two.splits["train"].x)


def test_probe_subsets_are_nested_and_seeded():
    assert probe_order(20, seed=0, split="test").sort().values.tolist() == list(range(20))
    assert not torch.equal(probe_order(20, seed=0, split="test"), probe_order(20, seed=1, split="test"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_train": 5000}, "data.n_train = 5000: only 1000 digits training samples"),
        ({"n_val": 990, "n_train": 20}, "data.n_train = 20: only 10"),
        ({"n_test": 2000}, "data.n_test = 2000: only 1797"),
        ({"n_train": 1}, "at least 2"),
        ({"name": "digitz"}, "did you mean digits"),
        ({"name": "parquet:nowhere"}, "no such folder"),
        ({"name": "imagefolder:nowhere"}, "no such folder"),
        ({"name": "no.such.module:f"}, "cannot import module"),
        ({"name": "json:loads"}, "cannot be called as a source"),
    ],
)
def test_bad_requests_are_one_line(options, message):
    with pytest.raises(OverfitLabError, match=message):
        load(**options)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn", "mnist", "fashion-mnist"])
def test_absent_public_sets_say_how_to_get_them(name, tmp_path):
    with pytest.raises(DataUnavailableError, match=f"overfit-lab data fetch {name}") as caught:
        load(name=name, root=str(tmp_path))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.rglob("*.*")) == []


def test_fetch_knows_what_can_be_fetched():
    with pytest.raises(ConfigError, match="needs no download"):
        fetch("digits")
    with pytest.raises(UnknownNameError, match="cifar10"):
        fetch("cifar11")


def write_mnist_as_torchvision_has_it(root, n=20):
    """The raw files of MNIST, which torchvision reads without a checksum."""
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part, count in (("train", n), ("t10k", 5)):
        images = np.random.default_rng(count).integers(0, 256, count * 784, dtype=np.uint8)
        header = np.array([2051, count, 28, 28], dtype=">i4").tobytes()
        (folder / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        labels = (np.arange(count) % 10).astype(np.uint8)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(
            np.array([2049, count], dtype=">i4").tobytes() + labels.tobytes()
        )


def test_a_set_of_torchvision_that_is_there_is_read(tmp_path):
    write_mnist_as_torchvision_has_it(tmp_path)
    data = load(name="mnist", root=str(tmp_path))
    assert data.shape == (1, 28, 28)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 20, "test": 5}
    assert data.mean == (0.1307,)
    rows = np.random.default_rng(20).integers(0, 256, 20 * 784, dtype=np.uint8).reshape(20, 28, 28)
    found = {
        image.numpy().tobytes(): int(label)
        for image, label in zip(data.splits["train"].x, data.splits["train"].y, strict=True)
    }
    assert found == {row.tobytes(): i % 10 for i, row in enumerate(rows)}


@needs_cifar
def test_cifar10_from_parquet():
    data = load(name=f"parquet:{CIFAR}", n_train=1000, n_test=500, noise={"kind": "asymmetric", "rate": 0.5})
    assert data.shape == (3, 32, 32)
    assert data.class_names[0] == "airplane"
    assert data.mean == (0.4914, 0.4822, 0.4465)
    assert torch.bincount(data.splits["train"].y_true).tolist() == [100] * 10
    train = data.splits["train"]
    moved = train.y != train.y_true
    assert set(train.y_true[moved].tolist()) == {2, 3, 4, 5, 9}
    channels = train.x.float().mean((0, 2, 3)) / 255
    torch.testing.assert_close(channels, torch.tensor(data.mean), atol=0.02, rtol=0)
