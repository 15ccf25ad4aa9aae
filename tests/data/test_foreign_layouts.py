"""Folders, Parquet files and shards as others lay them out: read for what they are, or refused in one line."""

import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import webdataset
from PIL import Image
from torchvision.datasets import ImageFolder

from image_sets import encoded, load, pictures, write_set
from overfit_lab.config import DataConfig
from overfit_lab.data.dataset import dataset_from_arrays
from overfit_lab.errors import ConfigError, DataUnavailableError
from overfit_lab.records.reader import Run
from overfit_lab.training.complete import complete
from overfit_lab.training.run import train_run
from tiny import tiny_config


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OVERFIT_LAB_CACHE", str(tmp_path / "cache"))


def refused(message, name, **options):
    with pytest.raises((DataUnavailableError, ConfigError), match=message) as caught:
        load(name, **options)
    assert "\n" not in str(caught.value)


def sizes(data):
    return {name: len(split) for name, split in data.splits.items()}


KINDS = ("imagefolder", "parquet", "webdataset")


def in_parts(kind, folder, **parts):
    for part, n in parts.items():
        name = write_set(kind, folder, pictures(n, seed=n), [0, 1] * (n // 2), part=part)
    return name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spelling", ["val", "valid", "validation", "dev", "Validation"])
def test_a_validation_split_that_is_there_is_the_validation_split(kind, spelling, tmp_path):
    name = in_parts(kind, tmp_path / "set", train=8, test=4, **{spelling: 6})
    data = load(name)
    assert sizes(data) == {"train": 8, "val": 6, "test": 4}
    assert data.provenance.read_from["val"].startswith(spelling)
    assert sizes(load(name, n_val=2)) == {"train": 8, "val": 2, "test": 4}
    seen = {image.numpy().tobytes() for image in data.splits["val"].x}
    assert seen == {image.transpose(2, 0, 1).tobytes() for image in pictures(6, seed=6)}


def stopping(name, **data):
    settings = {"probes": {}, "model": {"name": "mlp", "hidden": 4}, "epochs": 2, "attack": {"n_steps": 1}}
    config = tiny_config("hard", **settings, regularizers=["early-stopping"])
    return config.model_copy(update={"data": DataConfig(name=name, **data)})


def test_early_stopping_takes_the_sets_own_validation_split(tmp_path):
    name = in_parts("imagefolder", tmp_path / "set", train=8, test=4, dev=6)
    assert train_run(stopping(name), tmp_path / "run", device="cpu") == "completed"
    assert (
        Run.open(tmp_path / "run").series("evaluation@early-stopping", "acc_adv", "val", "adversarial")["n"].min() == 6
    )
    (tmp_path / "set" / "dev").rename(tmp_path / "set" / "holdout")
    assert train_run(stopping(name, splits={"val": "holdout"}), tmp_path / "named", device="cpu") == "completed"
    (tmp_path / "set" / "holdout").rename(tmp_path / "elsewhere")
    with pytest.raises(
        ConfigError, match=r"'early-stopping': .* there is none; set data.n_val, or .* data.splits.val="
    ):
        train_run(stopping(name), tmp_path / "none", device="cpu")
    assert not (tmp_path / "none").exists()
    with pytest.raises(ConfigError, match=r"'early-stopping': .* there is none"):
        complete(stopping("digits"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spelling", ["val", "valid", "dev"])
def test_without_a_test_split_it_is_the_test_split_and_is_said_to_be(kind, spelling, tmp_path):
    data = load(in_parts(kind, tmp_path / "set", train=8, **{spelling: 6}))
    assert sizes(data) == {"train": 8, "test": 6}
    assert f"test 6 from {spelling}" in data.describe()


def test_folders_in_capital_letters_are_splits_and_leftovers_no_classes(tmp_path):
    in_parts("imagefolder", tmp_path, Train=8, Test=4)
    leftover = tmp_path / "Train" / "__MACOSX"
    leftover.mkdir()
    (leftover / "._a.png").write_bytes(b"apple")
    (tmp_path / "Train" / "0000" / "._000000.png").write_bytes(b"apple")
    (tmp_path / "__MACOSX").mkdir()
    data = load(f"imagefolder:{tmp_path}")
    assert data.class_names == ("0000", "0001")
    assert sizes(data) == {"train": 8, "test": 4}


def test_an_image_folder_is_read_as_torchvision_reads_it(tmp_path):
    in_parts("imagefolder", tmp_path, Training=8, testing=4)
    stranger = ImageFolder(tmp_path / "Training")
    data = load(f"imagefolder:{tmp_path}")
    theirs = sorted((np.array(image).tobytes(), label) for image, label in stranger)
    train = data.splits["train"]
    ours = sorted((x.permute(1, 2, 0).numpy().tobytes(), int(y)) for x, y in zip(train.x, train.y, strict=True))
    assert ours == theirs


def test_a_folder_of_the_same_classes_that_no_split_is_named_after_is_asked_about(tmp_path):
    name = in_parts("imagefolder", tmp_path, train=8, test=4, holdout=6)
    refused("holdout/ holds folders of the same classes", name)
    assert sizes(load(name, splits={"val": "holdout"})) == {"train": 8, "val": 6, "test": 4}
    assert sizes(load(name, splits={"train": "train,holdout"})) == {"train": 14, "test": 4}
    refused("data.splits.val = 'hold': not in .*holdout", name, splits={"val": "hold"})


def test_two_names_of_one_split_are_asked_about(tmp_path):
    name = in_parts("imagefolder", tmp_path, train=8, val=4, dev=6)
    refused("'dev' and 'val' may both be the val split; name it by data.splits.val=", name)
    assert sizes(load(name, splits={"val": "dev", "test": "val"})) == {"train": 8, "val": 6, "test": 4}


def test_a_test_folder_alone_is_no_class(tmp_path):
    name = in_parts("imagefolder", tmp_path, test=4, images=8)
    refused("has test/ and no train/; name the training split by data.splits.train=", name)


def test_files_that_are_no_images_are_counted(tmp_path):
    name = in_parts("imagefolder", tmp_path, train=8, test=4)
    (tmp_path / "train" / "0000" / "scan.tif").write_bytes(b"")
    (tmp_path / "devkit").mkdir()
    assert load(name).provenance.notes == ("not used: devkit/", "passed over: 1 .tif")


def hugging_face(folder, part, n, file="0000.parquet", names=None, **columns):
    path = folder / part / file
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"bytes": encoded(image), "path": None} for image in pictures(n)]
    table = pa.table({"image": rows, "label": [0, 1] * (n // 2), **columns})
    if names:
        meta = {"huggingface": json.dumps({"info": {"features": {"label": {"names": names}}}})}
        table = table.replace_schema_metadata(meta)
    pq.write_table(table, path)


def test_a_configuration_of_a_hugging_face_folder(tmp_path):
    """The layout of the hub's converted files: CONFIGURATION/SPLIT/0000.parquet."""
    for configuration in ("plain", "rotated"):
        hugging_face(tmp_path / configuration, "train", 8)
        hugging_face(tmp_path / configuration, "test", 4)
    refused("holds several configurations of a set, plain, rotated; name the folder of one", f"parquet:{tmp_path}")
    assert sizes(load(f"parquet:{tmp_path / 'plain'}")) == {"train": 8, "test": 4}


def test_a_hugging_face_folder_with_other_splits_and_columns(tmp_path):
    hugging_face(tmp_path, "data", 8, "train-00000-of-00001-0123456789abcdef.parquet", fine_label=[0, 1, 2, 3] * 2)
    hugging_face(tmp_path, "data", 4, "extra-00000-of-00001.parquet", fine_label=[0, 1, 2, 3])
    name = f"parquet:{tmp_path}"
    refused("label columns label and fine_label; name one by data.columns.label=", name)
    data = load(name, columns={"label": "fine_label"}, n_test=4)
    assert data.n_classes == 4
    assert data.provenance.notes == ("image column 'image', label column 'fine_label'", "not used: extra*.parquet")
    assert sizes(load(name, columns={"label": "label"}, splits={"test": "extra"})) == {"train": 8, "test": 4}
    refused("no image column; expected photo, got", name, columns={"label": "label", "image": "photo"})


def test_an_absent_file_of_a_split_is_missed(tmp_path):
    hugging_face(tmp_path, "data", 8, "train-00001-of-00002.parquet")
    refused("train has 1 of the 2 files that their names speak of", f"parquet:{tmp_path}")


@pytest.mark.parametrize("kind", ["parquet", "webdataset"])
def test_labels_from_1_to_4_are_four_classes(kind, tmp_path):
    name = write_set(kind, tmp_path / "set", pictures(8), [1, 2, 3, 4] * 2)
    write_set(kind, tmp_path / "set", pictures(4), [4, 3, 2, 1], part="test")
    data = load(name)
    assert data.class_names == ("1", "2", "3", "4")
    assert sorted(data.splits["test"].y.tolist()) == [0, 1, 2, 3]
    assert "labels 1, 2, 3, 4 are classes 0 to 3" in data.describe()
    write_set(kind, tmp_path / "set", pictures(4), [4, 3, 2, 5], part="test")
    refused("test label 5: no training sample has it", name)


def deep(mode, format_):
    file = io.BytesIO()
    values = np.linspace(0, 60000, 144).reshape(12, 12)
    image = Image.fromarray(values.astype(np.uint16)) if mode == "I;16" else Image.fromarray(values.astype(np.float32))
    image.save(file, format=format_)
    return file.getvalue()


@pytest.mark.parametrize(("mode", "format_"), [("I;16", "PNG"), ("I;16", "TIFF"), ("F", "TIFF")])
@pytest.mark.parametrize("kind", KINDS)
def test_images_of_more_than_8_bits_are_refused(kind, mode, format_, tmp_path):
    refused("more than 8 bits a channel", write_set(kind, tmp_path / "set", [deep(mode, format_)] * 4, [0, 1] * 2))


def test_no_shard_that_ends_early_is_taken_for_complete(tmp_path):
    """Every length up to the block of zeros that ends a shard; tarfile itself takes some for complete."""
    path = tmp_path / "train-0.tar"
    with webdataset.TarWriter(str(path)) as shard:
        for i in range(3):
            shard.write({"__key__": f"{i:04d}", "png": encoded(pictures(1, side=4, seed=i)[0]), "cls": i % 2})
    whole = path.read_bytes()
    assert sizes(load(f"webdataset:{tmp_path}", n_test=1)) == {"train": 2, "test": 1}
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    with tarfile.open(path) as shard:
        assert len(shard.getnames()) == 6
    for cut in [*range(512, end + 512, 128), end - 1, end + 511]:
        path.write_bytes(whole[:cut])
        refused("ends early|plain tar file|reaches beyond|has no label", f"webdataset:{tmp_path}", n_test=1)
    path.write_bytes(whole + whole)
    refused("ends early or is damaged", f"webdataset:{tmp_path}", n_test=1)


def test_two_images_of_a_sample_are_asked_about(tmp_path):
    with webdataset.TarWriter(str(tmp_path / "train-0.tar")) as shard:
        for i in range(4):
            image = encoded(pictures(1, seed=i)[0])
            shard.write(
                {"__key__": f"{i}", "png": image, "jpg": b"other", "cls": i % 2, "json": {"label": int(i == 0)}}
            )
    name = f"webdataset:{tmp_path}"
    refused("has the images jpg and png; name one by data.columns.image=", name, n_test=1)
    for columns, n_ones in (({"image": "png"}, 2), ({"image": "png", "label": "json"}, 1)):
        data = load(name, n_test=1, columns=columns)
        assert int(sum(split.y.sum() for split in data.splits.values())) == n_ones


def test_a_source_without_names_of_splits_takes_none():
    refused("digits has no names of splits or columns to choose", "digits", splits={"val": "holdout"})


def test_what_was_read_as_what_is_one_line(tmp_path):
    data = load(in_parts("parquet", tmp_path / "set", train=8, test=4), n_val=2)
    assert data.describe() == (
        f"parquet:{tmp_path / 'set'}: train 6 from train*.parquet (2), val 2 from train*.parquet (2), cut out at "
        "random, test 4 from test*.parquet (2); 2 classes (0, 1); images 3x12x12; image column 'image', label column "
        "'label'"
    )
    assert load("digits", n_train=20).describe().startswith("digits: train 20 from its one pool, test 797 from its one")


def test_arrays_with_labels_from_1_are_refused_without_names_of_classes():
    x, y = torch.zeros(8, 1, 4, 4, dtype=torch.uint8), torch.arange(8) % 4 + 1
    with pytest.raises(ConfigError, match="train labels go from 1 to 4, and none is 0; expected 0 to 3"):
        dataset_from_arrays((x, y))
    assert dataset_from_arrays((x, y), class_names="abcde").n_classes == 5


@pytest.mark.parametrize("place", ["", "MNIST/raw"])
def test_files_of_mnist_that_are_packed_are_said_to_be(place, tmp_path):
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / place / "train-images-idx3-ubyte.gz").write_bytes(b"")
    refused("train-images-idx3-ubyte.gz is packed; it is read unpacked .*MNIST/raw", "mnist", root=str(tmp_path))
