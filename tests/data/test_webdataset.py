"""WebDataset shards against the webdataset package, and shards that somebody wrote in bad faith or badly."""

import io
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from image_sets import add, encoded, load, pictures, write_shard
from overfit_lab.config import DataConfig
from overfit_lab.data import webdataset as shards
from overfit_lab.data.dataset import load_dataset
from overfit_lab.data.webdataset import braces
from overfit_lab.errors import DataUnavailableError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OVERFIT_LAB_CACHE", str(tmp_path / "cache"))


def write(path, entries):
    """A shard with entries by name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as shard:
        for name, content in entries.items():
            add(shard, name, content)
    return f"webdataset:{path}"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("suffix", "label"), [("jpg", "cls"), ("png", "json")])
def test_the_webdataset_package_reads_the_same(tmp_path, suffix, label):
    package = pytest.importorskip("webdataset")
    contents = [encoded(image, "JPEG" if suffix == "jpg" else "PNG") for image in pictures(12)]
    for s in range(2):
        part = slice(6 * s, 6 * s + 6)
        labels = np.arange(12)[part] % 3
        write_shard(tmp_path / f"train-{s:02d}.tar", contents[part], labels, suffix, 6 * s, label)
    pattern = str(tmp_path / "train-{00..01}.tar")
    theirs = package.WebDataset(pattern, shardshuffle=False, empty_check=False).decode("pil").to_tuple(suffix, label)
    expected = [(np.array(image.convert("RGB")), k["label"] if label == "json" else k) for image, k in theirs]
    raw = shards.webdataset(pattern, root=None, download=False)
    assert len(expected) == len(raw.x_train) == 12
    for i, (image, k) in enumerate(expected):
        with Image.open(io.BytesIO(raw.x_train.read(i))) as found:
            assert np.array_equal(np.array(found), image)
        assert int(raw.y_train[i]) == k
    assert braces(pattern) == [str(tmp_path / f"train-{s:02d}.tar") for s in range(2)]


def test_shards_written_by_the_webdataset_package_are_read(tmp_path):
    package = pytest.importorskip("webdataset")
    images = pictures(6)
    with package.TarWriter(str(tmp_path / "train-0.tar")) as sink:
        for i, image in enumerate(images):
            sink.write({"__key__": f"a/{i:03d}", "png": image, "cls": i % 2})
    data = load(f"webdataset:{tmp_path}", n_test=2)
    found = {x.permute(1, 2, 0).numpy().tobytes() for split in data.splits.values() for x in split.x}
    assert found == {image.tobytes() for image in images}


def test_folders_of_shards_have_test_shards_and_names_of_classes(tmp_path):
    write_shard(tmp_path / "train" / "00.tar", pictures(6), [0, 1] * 3)
    write_shard(tmp_path / "val" / "00.tar", pictures(4, seed=1), [0, 1] * 2)
    (tmp_path / "classes.txt").write_text("ant\nbee\n")
    data = load(f"webdataset:{tmp_path}")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 6, "test": 4}
    assert data.class_names == ("ant", "bee")
    both = f"webdataset:{tmp_path}/train/{{00..00}}.tar;{tmp_path}/val/00.tar"
    assert {name: len(split) for name, split in load(both).splits.items()} == {"train": 6, "test": 4}


def test_an_index_is_made_once_and_anew_when_a_shard_changes(tmp_path, monkeypatch):
    made = []
    own = shards._index
    monkeypatch.setattr(shards, "_index", lambda path, columns: made.append(path.name) or own(path, columns))
    path = tmp_path / "train-0.tar"
    write_shard(path, pictures(6), [0, 1] * 3)
    for _ in range(2):
        data = load(f"webdataset:{tmp_path}", n_test=2)
    assert made == ["train-0.tar"]
    assert [entry.suffix for entry in (tmp_path / "cache").iterdir()] == [".npz"]
    write_shard(path, pictures(8), [0, 1] * 4)
    assert len(load(f"webdataset:{tmp_path}", n_test=2).splits["train"]) == 6
    assert len(made) == 2
    next((tmp_path / "cache").iterdir()).write_bytes(b"damaged")
    for entry in (tmp_path / "cache").iterdir():
        entry.write_bytes(b"damaged")
    assert len(load(f"webdataset:{tmp_path}", n_test=2).splits["train"]) == 6
    assert len(data.splits["train"]) == 4


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OVERFIT_LAB_CACHE", str(tmp_path / "file"))
    write_shard(tmp_path / "train-0.tar", pictures(6), [0, 1] * 3)
    assert len(load(f"webdataset:{tmp_path}", n_test=2).splits["train"]) == 4


def test_what_a_shard_holds_besides_is_passed_over_and_nothing_is_unpacked(tmp_path):
    """Pickles, links, devices and paths that lead out of the folder."""
    png = [encoded(image) for image in pictures(4)]
    path = tmp_path / "set" / "train-0.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w") as shard:
        for i, content in enumerate(png):
            add(shard, f"../../escaped/{i}.png", content)
            add(shard, f"../../escaped/{i}.cls", str(i % 2).encode())
            add(shard, f"../../escaped/{i}.pyd", b"cos\nsystem\n(S'touch owned'\ntR.")
            add(shard, f"../../escaped/{i}.pth", b"\x80\x04.")
        add(shard, "lonely.txt", b"no image")
        add(shard, "/etc/no-image.cls", b"1")
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            entry = tarfile.TarInfo("linked.png")
            entry.type, entry.linkname = kind, "/etc/passwd"
            shard.addfile(entry)
    data = load(f"webdataset:{path}", n_test=2, stream=True)
    found = torch.cat([split.x[:] for split in data.splits.values()])
    expected = {np.array(Image.open(io.BytesIO(content))).tobytes() for content in png}
    assert {x.permute(1, 2, 0).numpy().tobytes() for x in found} == expected
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["cache", "set"]


def bomb():
    """A PNG whose header promises 60,000 x 60,000 pixels."""
    import struct
    import zlib

    head = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + b"\0" * 12


PNG = encoded(pictures(1)[0])
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n"
"""What Pillow would hand to Ghostscript to run."""
FAULTS = {
    "no label": ({"a.png": PNG}, "'a.png' has no label; expected an entry .cls or .json"),
    "word": ({"a.png": PNG, "a.cls": b"cat"}, "'a.cls' holds no whole number"),
    "negative": ({"a.png": PNG, "a.cls": b"-1"}, "'a.cls' holds no whole number"),
    "huge": ({"a.png": PNG, "a.cls": b"9" * 30}, "'a.cls' holds no whole number"),
    "many digits": ({"a.png": PNG, "a.cls": b"9" * 10000}, "'a.cls' holds no whole number"),
    "deep": ({"a.png": PNG, "a.json": b"[" * 100000}, "'a.json' holds no whole number"),
    "truth": ({"a.png": PNG, "a.json": b'{"label": true}'}, "'a.json' holds no whole number"),
    "long label": ({"a.png": PNG, "a.cls": b" " * 2**21}, "'a.cls' has 2097152 bytes; expected a label"),
    "no image": ({"a.txt": b"a", "a.cls": b"1"}, "the shards hold no image"),
    "damaged": ({"a.png": b"text", "a.cls": b"1"}, r"a\.png .*damaged, or no image \(unknown format\)"),
    "postscript": ({"a.png": POSTSCRIPT, "a.cls": b"1"}, "unknown format"),
    "bomb": ({"a.png": bomb(), "a.cls": b"1"}, "damaged, or no image"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_shards_are_refused_in_one_line(tmp_path, fault):
    entries, message = FAULTS[fault]
    with pytest.raises(DataUnavailableError, match=message) as caught:
        load(write(tmp_path / "train-0.tar", entries))
    assert "\n" not in str(caught.value)


def test_damaged_and_compressed_files_are_refused(tmp_path):
    path = tmp_path / "train-0.tar"
    with tarfile.open(path, "w:gz") as shard:
        add(shard, "a.png", PNG)
    with pytest.raises(DataUnavailableError, match="cannot be read as a plain tar file"):
        load(f"webdataset:{tmp_path}")
    write_shard(path, pictures(4), [0, 1] * 2)
    path.write_bytes(path.read_bytes()[: 512 + 100])
    with pytest.raises(DataUnavailableError, match=r"plain tar file|has no label|reaches beyond"):
        load(f"webdataset:{tmp_path}")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{folder}/none", "no such folder"),
        ("{folder}", "no train-*.tar in the folder"),
        ("{folder}/train-{{0..3}}.tar", r"no such shard, .*train-0.tar \(4 absent\)"),
        ("{folder}/train-{{0..9.tar", "braces that are not closed"),
        ("{folder}/train-{{0..999999999}}.tar", "1000000000 shards; expected 100000 at most"),
        ("{{0..999}}{{0..999}}.tar", "more than 100000 shards"),
    ],
)
def test_names_of_shards_that_are_not_there(tmp_path, pattern, message):
    with pytest.raises(DataUnavailableError, match=message.replace("*", r"\*") if "*.tar in" in message else message):
        load_dataset(DataConfig(name=f"webdataset:{pattern.format(folder=tmp_path)}"), 0, "cpu")


def test_braces_count_and_list():
    assert braces("a{8..11}b{x,y}") == [f"a{i}b{c}" for i in range(8, 12) for c in "xy"]
    assert braces("plain") == ["plain"]
    assert braces("{098..101}")[0::3] == ["098", "101"]
