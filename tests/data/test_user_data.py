"""Splits from arrays, data sets, loaders and mappings, for a monitor."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    Sampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from overfit_lab.data.split import probe_order
from overfit_lab.data.user_data import by_split, dataset_from_sources, describe_splits, with_classes
from overfit_lab.errors import ConfigError

X = torch.randint(0, 256, (90, 1, 6, 6), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
Y = torch.arange(90) % 5


class Items(Dataset):
    def __init__(self, make, n=90):
        self.make, self.n, self.read = make, n, []

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        self.read.append(i)
        return self.make(i)


def given(train, keep=40, **others):
    return dataset_from_sources(by_split(train, **others), keep=keep, seed=3, device="cpu")


KINDS = {
    "floats": lambda i: (X[i].float() / 255, Y[i]),
    "bytes": lambda i: (X[i], int(Y[i])),
    "grey": lambda i: (X[i, 0], int(Y[i])),
    "numpy": lambda i: (X[i].numpy(), np.int64(Y[i])),
    "pil": lambda i: (Image.fromarray(X[i, 0].numpy()), int(Y[i])),
    "mapping": lambda i: {"pixel_values": X[i], "labels": int(Y[i])},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_data_set_gives_the_samples_that_the_whole_arrays_would(kind):
    items = Items(KINDS[kind])
    whole, part = given((X, Y)).splits["train"], given(items).splits["train"]
    first = whole.order[:40]
    assert torch.equal(part.x[part.order], whole.x[first])
    assert torch.equal(part.y[part.order], whole.y[first])
    assert (len(part), part.size, whole.size) == (40, 90, 90)
    assert sorted(items.read) == sorted(probe_order(90, seed=3, split="train")[:40].tolist())


def test_loaders_mappings_and_splits_by_name():
    loader = DataLoader(TensorDataset(X.float() / 255, Y), batch_size=7, shuffle=True)
    data = given({"train": loader, "validation": (X[:9], Y[:9])}, test=Items(KINDS["bytes"], 12))
    assert list(data.splits) == ["train", "val", "test"]
    assert describe_splits(data)["train"] == "40 of 90 samples, 0.0 MB"
    two = given([(X[0], 0), (X[1], 1)])
    assert two.splits["train"].y.tolist() in ([0, 1], [1, 0])


def test_colours_of_an_image_come_first():
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    data = given(Items(lambda i: (Image.fromarray(pixels), 0), 3))
    assert torch.equal(data.splits["train"].x[0], torch.tensor(pixels).permute(2, 0, 1))


def test_floats_that_no_byte_holds_stay_as_they_are():
    floats = torch.rand(20, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    split = given((floats, Y[:20])).splits["train"]
    assert torch.equal(split.x, floats)
    assert given((X.float() / 255, Y)).splits["train"].x.dtype == torch.uint8


def test_reading_draws_from_streams_of_its_own_and_repeats():
    noisy = Items(lambda i: ((X[i] + torch.randint(0, 9, X[i].shape)).to(torch.uint8), int(Y[i])))
    before = torch.get_rng_state()
    first = given(noisy).splits["train"].x
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert torch.equal(given(noisy).splits["train"].x, first)


class Stream(IterableDataset):
    def __iter__(self):
        yield X[0], 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"test": (X, Y)}, "no training split"),
        (None, "no training split"),
        ({"train": (X, Y), "testing": (X, Y)}, "unknown split 'testing'; expected train, val or test"),
        ({"train": ((X.float() / 255 - 0.5) / 0.2, Y)}, r"go from -2.5 to 2.5; expected \[0, 1\]; .*put_in_front\("),
        (Stream(), "iterable data set"),
        (X, "expected a pair of images and labels, a torch data set or data loader, got Tensor"),
        (3, "got int"),
        (Items(lambda i: X[i]), "a sample is Tensor; expected an image and a label"),
        (Items(lambda i: {"text": "a"}), "a sample is keys text; expected"),
        (Items(lambda i: (X[i], "cat")), "no image and whole number"),
        (Items(lambda i: (X[i, :, : i % 3 + 1], 0)), "images differ in shape, such as .* resize them"),
        (Items(KINDS["bytes"], 0), "the data set is empty"),
        ({"train": (X, Y), "test": (X[:, :, :3], Y)}, "differ in shape"),
    ],
)
def test_what_does_not_fit_is_one_line(data, message):
    with pytest.raises(ConfigError, match=message) as raised:
        given(data)
    assert "\n" not in str(raised.value)


def test_a_split_twice_and_labels_without_logits_are_refused():
    with pytest.raises(ConfigError, match="given twice"):
        given({"train": (X, Y), "test": (X, Y)}, test=(X, Y))
    assert with_classes(given((X, Y)), 7).n_classes == 7
    with pytest.raises(ConfigError, match="label 4: the model gives 4 logits"):
        with_classes(given((X, Y)), 4)


class Own(Sampler):
    def __iter__(self):
        return iter([13, 2, 3, 2])


class Batches(Own):
    def __iter__(self):
        return iter([[13, 2], [3]])


def weights():
    some = torch.zeros(90)
    some[[2, 3, 13]] = 0.5
    return some


CHOSEN = [13, 2, 3]
LOADERS = {
    "subset": lambda data: DataLoader(data, sampler=SubsetRandomSampler(CHOSEN)),
    "batches": lambda data: DataLoader(data, batch_sampler=BatchSampler(SubsetRandomSampler(CHOSEN), 2, False)),
    "weights": lambda data: DataLoader(data, sampler=WeightedRandomSampler(weights(), 50)),
    "own": lambda data: DataLoader(data, sampler=Own()),
    "own batches": lambda data: DataLoader(data, batch_sampler=Batches()),
    "list": lambda data: DataLoader(data, sampler=CHOSEN),
}


@pytest.mark.parametrize("kind", LOADERS)
def test_only_what_a_loaders_sampler_gives_is_measured(kind):
    before = torch.get_rng_state()
    split = given(LOADERS[kind](TensorDataset(X, Y))).splits["train"]
    assert split.size == 3
    assert {x.numpy().tobytes() for x in split.x} == {X[i].numpy().tobytes() for i in CHOSEN}
    assert torch.equal(torch.get_rng_state(), before)


def test_the_usual_split_by_samplers_gives_two_parts_that_share_nothing():
    data, order = TensorDataset(X, Y), torch.randperm(90, generator=torch.Generator().manual_seed(0)).tolist()
    train, val = (DataLoader(data, 8, sampler=SubsetRandomSampler(part)) for part in (order[:60], order[60:]))
    splits = given(train, keep=90, val=val).splits
    assert {name: len(split) for name, split in splits.items()} == {"train": 60, "val": 30}
    parts = [{x.numpy().tobytes() for x in split.x} for split in splits.values()]
    assert not parts[0] & parts[1]


def test_a_palette_is_colours_and_a_bitmap_is_black_and_white():
    colours = np.zeros((4, 4, 3), dtype=np.uint8)
    colours[:2], colours[2:, :, 1] = (200, 10, 60), 90
    image = Image.fromarray(colours).convert("P", palette=Image.Palette.ADAPTIVE)
    split = given(Items(lambda i: (image, 0), 3)).splits["train"]
    assert torch.equal(split.x[0], torch.tensor(colours).permute(2, 0, 1))
    bitmap = Image.fromarray(np.eye(4, dtype=bool))
    assert torch.equal(given(Items(lambda i: (bitmap, 0), 3)).splits["train"].x[0, 0], torch.eye(4).byte() * 255)


@pytest.mark.parametrize("label", [1.7, torch.tensor(0.5), np.float32(2.25)])
def test_labels_are_not_rounded(label):
    with pytest.raises(ConfigError, match=r"no image and whole number \(label"):
        given(Items(lambda i: (X[i], label)))
    assert given(Items(lambda i: (X[i], torch.tensor(2.0)))).splits["train"].y.unique().tolist() == [2]
