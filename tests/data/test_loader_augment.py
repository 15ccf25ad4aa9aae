"""Augmentation against a loop over samples; the loader's coverage and independence of batching."""

import pytest
import torch

from overfit_lab.data.augment import Augmenter, crop, cutout
from overfit_lab.data.dataset import make_split
from overfit_lab.data.loader import EpochLoader
from overfit_lab.errors import ConfigError

N, SHAPE = 29, (3, 8, 10)
IMAGES = torch.randint(1, 256, (N, *SHAPE), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def split():
    return make_split("train", IMAGES, torch.arange(N) % 5, seed=0, device="cpu")


def augmenter(*names):
    return Augmenter(names, n_samples=N, shape=SHAPE, seed=3, padding=2, cutout_size=4)


def test_crop_equals_a_loop():
    offsets = torch.randint(5, (N, 2), generator=torch.Generator().manual_seed(1))
    found = crop(IMAGES, offsets, 2)
    for i in range(N):
        padded = torch.zeros(3, 12, 14, dtype=torch.uint8)
        padded[:, 2:10, 2:12] = IMAGES[i]
        a, b = offsets[i].tolist()
        assert torch.equal(found[i], padded[:, a : a + 8, b : b + 10])


def test_cutout_equals_a_loop():
    centres = torch.stack([torch.arange(N) % 8, torch.arange(N) % 10], 1)
    found = cutout(IMAGES, centres, 4)
    for i in range(N):
        expected = IMAGES[i].clone()
        a, b = centres[i].tolist()
        expected[:, max(0, a - 2) : a + 2, max(0, b - 2) : b + 2] = 0
        assert torch.equal(found[i], expected)


def test_flip_mirrors_about_half_of_the_samples():
    found = augmenter("flip")(IMAGES, torch.arange(N), 0)
    mirrored = [torch.equal(found[i], IMAGES[i].flip(2)) for i in range(N)]
    same = [torch.equal(found[i], IMAGES[i]) for i in range(N)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 5 < sum(mirrored) < 24


def test_a_sample_is_augmented_alike_in_any_batch_and_differently_in_another_epoch():
    names = ("crop", "flip", "cutout")
    whole = augmenter(*names)(IMAGES, torch.arange(N), 4)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(9))
    one = augmenter(*names)
    for part in order.split(6):
        assert torch.equal(one(IMAGES[part], part, 4), whole[part])
    assert not torch.equal(one(IMAGES, torch.arange(N), 5), whole)


def test_two_batch_sizes_see_the_same_images():
    seen = []
    for size in (4, 7):
        loader = EpochLoader(split(), batch_size=size, seed=3, augmenter=augmenter("crop", "flip"))
        images = torch.zeros(N, *SHAPE)
        for batch in loader.epoch(2):
            images[batch.index] = batch.x
        seen.append(images)
    drawn = seen[0].flatten(1).any(1) & seen[1].flatten(1).any(1)
    assert drawn.sum() >= N - 2
    assert torch.equal(seen[0][drawn], seen[1][drawn])


@pytest.mark.parametrize(
    ("size", "n_batches", "n_seen"), [(29, 1, 29), (10, 3, 29), (7, 4, 28), (100, 1, 29), (1, 29, 29)]
)
def test_each_index_comes_once_but_for_a_single_left_over(size, n_batches, n_seen):
    loader = EpochLoader(split(), batch_size=size, seed=0)
    batches = list(loader.epoch(0))
    assert len(batches) == loader.n_batches == n_batches
    index = torch.cat([batch.index for batch in batches])
    assert len(index.unique()) == len(index) == n_seen
    for batch in batches:
        assert torch.equal(batch.y, split().y[batch.index])
        torch.testing.assert_close(batch.x, IMAGES[batch.index].float() / 255)


def test_epochs_differ_in_order_and_repeat_by_seed():
    def order(seed, epoch):
        return torch.cat([b.index for b in EpochLoader(split(), batch_size=8, seed=seed).epoch(epoch)]).tolist()

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)


def test_what_does_not_fit_the_images_is_refused():
    with pytest.raises(ConfigError, match="cutout_size = 9"):
        Augmenter(["cutout"], n_samples=N, shape=SHAPE, seed=0, cutout_size=9)
    with pytest.raises(ConfigError, match="crop_padding = 20"):
        Augmenter(["crop"], n_samples=N, shape=SHAPE, seed=0, padding=20)


def test_an_epoch_is_gone_on_with_in_the_middle():
    loader = EpochLoader(split(), batch_size=6, seed=3, augmenter=augmenter("crop", "flip"))
    whole = list(loader.epoch(1))
    for first in range(loader.n_batches + 1):
        rest = list(
            EpochLoader(split(), batch_size=6, seed=3, augmenter=augmenter("crop", "flip")).epoch(1, first=first)
        )
        assert len(rest) == loader.n_batches - first
        for a, b in zip(rest, whole[first:], strict=True):
            assert torch.equal(a.index, b.index)
            assert torch.equal(a.x, b.x)
            assert torch.equal(a.y, b.y)


def test_rows_of_two_processes_are_the_batch():
    loader = EpochLoader(split(), batch_size=6, seed=3, augmenter=augmenter("crop"))
    halves = [list(loader.epoch(1, rows=rows)) for rows in (lambda n: slice(0, n // 2), lambda n: slice(n // 2, n))]
    for i, (whole, one, other) in enumerate(zip(loader.epoch(1), *halves, strict=True)):
        assert torch.equal(loader.indices(1, i), whole.index)
        assert torch.equal(torch.cat([one.index, other.index]), whole.index)
        assert torch.equal(torch.cat([one.x, other.x]), whole.x)


def test_a_batch_that_is_not_there_is_refused():
    loader = EpochLoader(split(), batch_size=6, seed=3)
    for i in (-1, loader.n_batches):
        with pytest.raises(IndexError, match=r"batches 0 to 4"):
            loader.indices(0, i)


def test_a_loader_gives_each_epoch_as_a_new_one_does_whatever_it_was_asked_before():
    used = EpochLoader(split(), batch_size=6, seed=3)
    for epoch in (0, 2, 1, 0):
        fresh = EpochLoader(split(), batch_size=6, seed=3)
        assert torch.equal(used.indices(epoch, 1), fresh.indices(epoch, 1))
    assert not torch.equal(used.indices(0, 1), used.indices(1, 1))
