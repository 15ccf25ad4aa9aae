"""Streamed images equal decoded ones to the bit, in whatever files they lie."""

import threading

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from image_sets import KINDS, encoded, load, pictures, write_set
from overfit_lab.config import DataConfig
from overfit_lab.data.augment import Augmenter
from overfit_lab.data.dataset import load_dataset
from overfit_lab.data.loader import EpochLoader
from overfit_lab.data.stream_loader import StreamLoader
from overfit_lab.data.streamed import StreamedImages
from overfit_lab.errors import ConfigError, DataUnavailableError
from overfit_lab.records.reader import Run
from overfit_lab.training.build import build
from overfit_lab.training.checkpoint import load_checkpoint
from overfit_lab.training.run import train_run
from tiny import tiny_config

N = 60
EVERYTHING = ("resized-crop", "crop", "flip", "cutout")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("OVERFIT_LAB_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Digits as PNG in every kind of set: kind to name."""
    bunch = load_digits()
    images = np.rint(bunch.images[:N] / 16 * 255).astype(np.uint8)
    root = tmp_path_factory.mktemp("digits")
    return {kind: write_set(kind, root / kind, images, bunch.target[:N]) for kind in KINDS}


def loader(name, stream, augment=EVERYTHING, workers=2, prefetch=2, batch_size=7, **options):
    data = load(name, stream=stream, workers=workers, n_test=10, **options)
    split = data.splits["train"]
    augmenter = Augmenter(augment, n_samples=len(split), shape=data.shape, seed=5, padding=1, cutout_size=3)
    if stream:
        return StreamLoader(split, batch_size=batch_size, seed=5, augmenter=augmenter, prefetch=prefetch)
    return EpochLoader(split, batch_size=batch_size, seed=5, augmenter=augmenter)


def assert_same(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a.index, b.index)
        assert torch.equal(a.y, b.y)
        assert a.x.dtype == b.x.dtype
        assert a.x.stride() == b.x.stride()
        assert torch.equal(a.x, b.x)


def decoders():
    return [thread for thread in threading.enumerate() if thread.name.startswith("overfit-lab-decode")]


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_streamed_batches_are_those_of_the_decoded_set(digits, kind, workers):
    streamed, whole = loader(digits[kind], True, workers=workers), loader(digits[kind], False)
    for epoch in (0, 1):
        assert_same(list(streamed.epoch(epoch)), list(whole.epoch(epoch)))
        for i in range(whole.n_batches):
            assert torch.equal(streamed.indices(epoch, i), whole.indices(epoch, i))
    assert not decoders()


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_is_gone_on_with_and_shared_out(digits, kind):
    streamed, whole = loader(digits[kind], True), loader(digits[kind], False)
    for first in (0, 3, whole.n_batches - 1, whole.n_batches):
        assert_same(list(streamed.epoch(1, first=first)), list(whole.epoch(1))[first:])
    for rows in (lambda n: slice(0, n // 2), lambda n: slice(n // 2, n), lambda n: slice(0, 0)):
        assert_same(list(streamed.epoch(1, first=2, rows=rows)), list(whole.epoch(1, first=2, rows=rows)))


def test_only_what_is_given_is_decoded(digits, monkeypatch):
    streamed = loader(digits["imagefolder"], True, prefetch=1)
    read = []
    own = type(streamed.images.images).read
    monkeypatch.setattr(type(streamed.images.images), "read", lambda self, i: read.append(i) or own(self, i))
    epoch = streamed.epoch(0, first=2, rows=lambda n: slice(1, 3))
    given = [next(epoch) for _ in range(3)]
    assert [len(batch.y) for batch in given] == [2, 2, 2]
    epoch.close()
    assert not decoders()
    expected = torch.cat([streamed.indices(0, 2 + i)[1:3] for i in range(4)]).tolist()
    assert len(read) == len(set(read))
    assert set(expected[:6]) <= set(read) <= set(expected), "three batches of two rows, and at most the one ahead"


def test_splits_are_those_of_the_decoded_set(digits):
    """Also indexing, slices and parts, which probes use."""
    whole = load(digits["parquet"], stream=False, n_val=6, n_test=10, noise={"kind": "symmetric", "rate": 0.5})
    data = load(digits["webdataset"], stream=True, n_val=6, n_test=10, noise={"kind": "symmetric", "rate": 0.5})
    for name, split in data.splits.items():
        assert isinstance(split.x, StreamedImages)
        x = whole.splits[name].x
        assert (split.x.shape, split.x.dtype, split.x.device, len(split.x)) == (x.shape, x.dtype, x.device, len(x))
        index = split.order[:5]
        for which in (index, slice(None), slice(2, 5), 3, -1, torch.tensor(1), torch.arange(len(x)) % 2 == 0, [0, 2]):
            assert torch.equal(split.x[which], x[which]), which
        assert torch.equal(split.x[index[:0]], x[index[:0]])
        assert all(torch.equal(a, b) for a, b in zip(split.x.split(4), x.split(4), strict=True))
        assert torch.equal(split.x.select(index)[:2], x[index[:2]])
        with pytest.raises(IndexError):
            split.x[torch.tensor([len(x)])]
        for field in ("y", "y_true", "corrupted", "order"):
            assert torch.equal(getattr(split, field), getattr(whole.splits[name], field))


def trained(folder, name, **data):
    given = {"n_train": 32, "n_val": 8, "n_test": 12, "augment": ["crop", "flip"], "crop_padding": 1}
    config = tiny_config(epochs=2, schedule={"name": "constant"}, data={"name": name, **given, **data})
    train_run(config, folder, device="cpu")
    return Run.open(folder), load_checkpoint(folder / "checkpoints" / "last.safetensors")


def test_a_streamed_run_with_every_probe_equals_one_in_memory(digits, tmp_path):
    augment = ["resized-crop", "flip"]
    runs = [
        trained(tmp_path / "memory", digits["imagefolder"], stream=False, augment=augment),
        trained(tmp_path / "stream", digits["imagefolder"], stream=True, workers=2, augment=augment),
    ]
    (memory, weights), (stream, others) = runs
    unlike = ["run", "seconds"]
    timed = ~memory.records["field"].str.startswith("seconds")
    assert timed.sum() > 100
    assert memory.records[timed].drop(columns=unlike).equals(stream.records[timed].drop(columns=unlike))
    assert all(torch.equal(weights.model[name], others.model[name]) for name in weights.model)
    assert torch.equal(weights.labels["rows"], others.labels["rows"])


def test_auto_streams_what_is_beyond_the_limit(digits):
    def streamed(**options):
        return isinstance(load(digits["imagefolder"], n_test=10, **options).splits["train"].x, StreamedImages)

    assert not streamed()
    assert streamed(memory_limit="3.8KB")
    assert not streamed(memory_limit="3.9KB"), "60 images of 64 bytes are 3,840"
    assert not streamed(memory_limit="1B", stream=False)


def test_what_is_decoded_already_cannot_be_streamed():
    with pytest.raises(ConfigError, match="digits gives its images decoded; expected imagefolder"):
        load("digits", stream=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_image_is_one_clear_line_and_no_thread_is_left(tmp_path, kind, workers):
    contents = [encoded(image) for image in pictures(20)]
    contents[11] = contents[11][: len(contents[11]) // 2]
    name = write_set(kind, tmp_path, contents, np.arange(20) % 2, shards=1)
    place = {"imagefolder": "0001/000011.png", "parquet": "entry 11", "webdataset": "sample/000011.png"}[kind]
    data = load(name, stream=True, workers=workers, n_test=2)
    with pytest.raises(DataUnavailableError, match=f"{place}.*damaged, or no image") as caught:  # noqa: PT012
        list(StreamLoader(data.splits["train"], batch_size=4, seed=0).epoch(0))
        list(data.splits["test"].x.split(1))
    assert "\n" not in str(caught.value)
    assert not decoders()


def test_an_interruption_ends_the_workers(digits, monkeypatch):
    streamed = loader(digits["imagefolder"], True)

    def interrupted():
        for i, _ in enumerate(streamed.epoch(0)):
            if i == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not decoders()


def test_a_file_that_changes_under_the_run_is_said(tmp_path):
    name = write_set("webdataset", tmp_path, pictures(12), np.arange(12) % 2, shards=1)
    data = load(name, stream=True, n_test=2)
    (tmp_path / "train-0000.tar").write_bytes(b"short")
    with pytest.raises(DataUnavailableError, match="the file has become shorter"):
        list(data.splits["train"].x.split(4))
    (tmp_path / "train-0000.tar").unlink()
    with pytest.raises(DataUnavailableError, match="cannot be read"):
        list(data.splits["train"].x.split(4))


def test_images_of_many_sizes_are_brought_to_one(tmp_path):
    """Streamed and in memory alike, grey images among coloured ones too; as torchvision's transforms do it."""
    from PIL import Image
    from torchvision.transforms import CenterCrop, Compose, Resize

    sizes = [(20, 31), (16, 16), (40, 17), (9, 12), (27, 16), (16, 27)] * 2
    pixels = pictures(12, side=60)
    images = [np.array(Image.fromarray(p).resize(size)) for p, size in zip(pixels, sizes, strict=True)]
    images[5] = images[5][:, :, 0]
    labels = np.arange(12) % 2
    folder = tmp_path / "set"
    name = write_set("webdataset", folder, images, labels)
    options = {"image_size": 12, "shorter_side": 16, "n_test": 3}
    for split in ("train", "test"):
        streamed, whole = (load(name, stream=stream, **options).splits[split] for stream in (True, False))
        assert torch.equal(streamed.x[:], whole.x)
    transform = Compose([Resize(16), CenterCrop(12)])
    expected = {np.array(transform(Image.fromarray(image).convert("RGB"))).tobytes() for image in images}
    both = torch.cat([load(name, stream=False, **options).splits[s].x for s in ("train", "test")])
    assert {image.permute(1, 2, 0).numpy().tobytes() for image in both} == expected
    with pytest.raises(DataUnavailableError, match=r"images of different sizes need data\.image_size"):
        load(name, n_test=3)


def test_resized_crops_are_taken_of_the_images_as_they_are_in_their_files(tmp_path):
    """With image_size the training split is streamed also where the set fits; the decoded test split is not."""
    from PIL import Image

    images = [image[: 30 + i] for i, image in enumerate(pictures(12, side=50))]
    name = write_set("imagefolder", tmp_path, images, np.arange(12) % 2)
    config = DataConfig(name=name, image_size=8, n_test=2, augment=["resized-crop"])
    data = load_dataset(config, 0, "cpu")
    assert isinstance(data.splits["train"].x, StreamedImages)
    assert isinstance(data.splits["test"].x, torch.Tensor)
    session = build(tiny_config(data=config.model_dump(mode="json")), torch.device("cpu"))
    batch = next(session.loader.epoch(3))
    zoom = session.loader.augmenter.resized_crop
    originals = session.loader.images.images
    for x, i in zip(batch.x, batch.index.tolist(), strict=True):
        with Image.open(originals.location(i)) as image:
            part = image.crop(zoom.box(3, i, *image.size)).resize((8, 8), Image.Resampling.BILINEAR)
            assert torch.equal((255 * x).round().to(torch.uint8).permute(1, 2, 0), torch.tensor(np.array(part)))
    with pytest.raises(ConfigError, match=r"stream = false: resized-crop takes parts of the images as they are"):
        load(name, image_size=8, augment=["resized-crop"], stream=False)
    with pytest.raises(ConfigError, match="those of digits are resized before"):
        load("digits", image_size=8, augment=["resized-crop"])


def test_a_set_that_is_decoded_already_is_resized_too():
    data = load("digits", n_train=20, n_test=5, image_size=6)
    assert data.shape == (1, 6, 6)
    assert data.splits["train"].x.float().std() > 30


def test_parquet_is_copied_flat_once_and_whole(tmp_path, monkeypatch):
    """Each group of rows is read once, in memory and for the copy; a copy that is cut short is made anew."""
    from overfit_lab.data.parquet import ParquetImages

    monkeypatch.setenv("OVERFIT_LAB_CACHE", str(tmp_path / "cache"))
    name = write_set("parquet", tmp_path / "set", pictures(40), np.arange(40) % 2, shards=1)
    read, copied = [], []
    group, everything = ParquetImages._group, ParquetImages._all
    monkeypatch.setattr(ParquetImages, "_group", lambda self, i: read.append(i) or group(self, i))
    monkeypatch.setattr(ParquetImages, "_all", lambda self: copied.append(1) or everything(self))
    monkeypatch.setattr("overfit_lab.data.parquet.CACHED_ROWS", 0)
    whole = load(name, n_test=5, workers=1)
    assert max(read.count(i) for i in range(6)) <= 4, "40 rows in 6 groups: looked at twice, and once for each split"
    read.clear()
    assert not copied
    assert not (tmp_path / "cache").exists()
    for _ in range(2):
        assert torch.equal(load(name, n_test=5, stream=True).splits["train"].x[:], whole.splits["train"].x)
    assert len(copied) == 1, "both splits and the second time have the first copy"
    assert max(read.count(i) for i in range(6)) <= 4, "looked at, never decoded"
    (flat,) = (tmp_path / "cache").glob("*.bytes")
    flat.write_bytes(flat.read_bytes()[:-1])
    assert torch.equal(load(name, n_test=5, stream=True).splits["train"].x[:], whole.splits["train"].x)
    assert len(copied) == 2
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".bytes", ".npz"}, "no part of a file is left"


def test_a_copy_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OVERFIT_LAB_CACHE", str(tmp_path / "file"))
    name = write_set("parquet", tmp_path / "set", pictures(8), np.arange(8) % 2)
    with pytest.raises(DataUnavailableError, match="point OVERFIT_LAB_CACHE at a folder with room"):
        load(name, n_test=2, stream=True)


def test_evaluation_and_the_search_for_leaks_see_the_same_images(digits):
    """An evaluation of a streamed split decodes batch by batch, and is the same evaluation as that in memory."""
    from overfit_lab.data.digests import image_digests
    from overfit_lab.evaluation.run import take_samples
    from overfit_lab.probes.snapshot import Snapshot
    from overfit_lab.types import Clock

    whole, streamed = (load(digits["webdataset"], stream=stream, n_test=20) for stream in (False, True))
    model = torch.nn.Flatten()
    samples = [
        take_samples(Snapshot(model=model, data=data, clock=Clock(0, 0, 1)), "test", 13) for data in (whole, streamed)
    ]
    assert isinstance(samples[1].x, StreamedImages)
    at = torch.tensor([5, 0, 12])
    assert torch.equal(samples[0].x[at], samples[1].x[at])
    for a, b in zip(samples[0].x.split(5), samples[1].x.split(5), strict=True):
        assert torch.equal(a, b)
    found = [list(image_digests(data.splits["train"].x)) for data in (whole, streamed)]
    assert found[0] == found[1]
    assert len(set(found[0])) > 35
