"""Parquet files and image folders, made here."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from overfit_lab.config import DataConfig
from overfit_lab.data.dataset import load_dataset
from overfit_lab.errors import DataUnavailableError


def load(seed=0, **options):
    return load_dataset(DataConfig(**options), seed, "cpu")


def png(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, format="PNG")
    return file.getvalue()


def write_parquet(path, images, labels, names=None, column="image"):
    table = pa.table({column: [{"bytes": png(image), "path": None} for image in images], "label": labels})
    if names:
        meta = {"huggingface": json.dumps({"info": {"features": {"label": {"names": names}}}})}
        table = table.replace_schema_metadata(meta)
    pq.write_table(table, path)


def rgb(n, side=6):
    return np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def test_parquet_in_the_hugging_face_layout(tmp_path):
    images = rgb(12)
    write_parquet(tmp_path / "train-00000-of-00001.parquet", images[:8], [0, 1] * 4, ["cat", "dog"])
    write_parquet(tmp_path / "test-00000-of-00001.parquet", images[8:], [1, 0] * 2, ["cat", "dog"])
    data = load(name=f"parquet:{tmp_path}")
    assert data.class_names == ("cat", "dog")
    assert data.shape == (3, 6, 6)
    found = {image.permute(1, 2, 0).numpy().tobytes() for image in data.splits["train"].x}
    assert found == {image.tobytes() for image in images[:8]}


def test_parquet_without_test_files_is_split(tmp_path):
    write_parquet(tmp_path / "train.parquet", rgb(10), [0, 1] * 5, column="img")
    data = load(name=f"parquet:{tmp_path}", n_test=4)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 6, "test": 4}


FAULTS = {
    "no train": "no train-",
    "no image": "no image column; expected one of img, image",
    "no label": "no label column; expected one of label, labels, fine_label",
    "not parquet": "cannot be read as Parquet",
    "not an image": r"train.parquet, row 0: damaged, or no image \(unknown format\)",
    "no bytes": r"train.parquet, row 0: damaged, or no image",
    "sizes": r"train.parquet, row 1: 7x7 with 3 channels, but .* is 6x6 with 3 channels; images of different sizes",
    "missing labels": "column label is int64 with 2 missing; expected whole numbers",
    "words as labels": "column label is string",
    "empty": "hold no image",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_parquet_is_refused_in_one_line(tmp_path, fault):
    path = tmp_path / "train.parquet"
    good = [{"bytes": png(image), "path": None} for image in rgb(4)]
    tables = {
        "no image": {"x": [1], "label": [0]},
        "no label": {"image": good, "y": [0] * 4},
        "not an image": {"image": [{"bytes": b"text", "path": None}], "label": [0]},
        "no bytes": {"image": [{"path": "a.png"}], "label": [0]},
        "sizes": {"image": [good[0], {"bytes": png(rgb(1, 7)[0]), "path": None}], "label": [0, 1]},
        "missing labels": {"image": good, "label": [0, None, 1, None]},
        "words as labels": {"image": good, "label": ["cat", "dog"] * 2},
        "empty": {"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())},
    }
    if fault == "not parquet":
        path.write_bytes(b"text")
    elif fault != "no train":
        pq.write_table(pa.table(tables[fault]), path)
    with pytest.raises(DataUnavailableError, match=FAULTS[fault]) as caught:
        load(name=f"parquet:{tmp_path}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("images", "labels", "names", "message"),
    [
        (rgb(4, 7), [0, 1] * 2, None, "train and test images differ in shape"),
        (rgb(4), [-1] * 4, None, "test labels go from -1 to -1; expected 0 to 1"),
        (rgb(4), [0, 2] * 2, ["a", "b"], "test labels go from 0 to 2; expected 0 to 1"),
    ],
)
def test_parquet_parts_that_do_not_go_together_are_refused(tmp_path, images, labels, names, message):
    write_parquet(tmp_path / "train.parquet", rgb(6), [0, 1] * 3, names)
    write_parquet(tmp_path / "test.parquet", images, labels, names)
    with pytest.raises(DataUnavailableError, match=message):
        load(name=f"parquet:{tmp_path}")


def write_folder(root, per_class=3, size=(5, 5)):
    for k, name in enumerate(("ant", "bee")):
        (root / name).mkdir(parents=True)
        for i in range(per_class):
            Image.fromarray(np.full((*size, 3), 10 * k + i, dtype=np.uint8)).save(root / name / f"{i}.png")


def test_image_folders(tmp_path):
    write_folder(tmp_path / "train")
    write_folder(tmp_path / "val", per_class=2)
    data = load(name=f"imagefolder:{tmp_path}")
    assert data.class_names == ("ant", "bee")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 6, "test": 4}
    values = {(int(x.max()), int(y)) for x, y in zip(data.splits["train"].x, data.splits["train"].y, strict=True)}
    assert values == {(10 * k + i, k) for k in (0, 1) for i in range(3)}


def test_an_image_folder_of_different_sizes_is_refused(tmp_path):
    write_folder(tmp_path)
    Image.fromarray(np.zeros((4, 9, 3), dtype=np.uint8)).save(tmp_path / "bee" / "z.png")
    with pytest.raises(DataUnavailableError, match=r"9x4 with 3 channels, but .* is 5x5"):
        load(name=f"imagefolder:{tmp_path}")
    with pytest.raises(DataUnavailableError, match="no folder of a class"):
        load(name=f"imagefolder:{tmp_path / 'ant'}")


def test_hidden_folders_are_no_classes_and_stray_test_classes_are_refused(tmp_path):
    write_folder(tmp_path / "train")
    write_folder(tmp_path / "test")
    (tmp_path / "train" / ".thumbnails").mkdir()
    assert load(name=f"imagefolder:{tmp_path}").class_names == ("ant", "bee")
    (tmp_path / "test" / "cow").mkdir()
    with pytest.raises(DataUnavailableError, match="a class that train has not, 'cow'"):
        load(name=f"imagefolder:{tmp_path}")


def test_a_folder_may_be_written_from_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_folder(tmp_path / "pool")
    write_parquet(tmp_path / "train.parquet", rgb(10), [0, 1] * 5)
    assert len(load(name="imagefolder:~/pool", n_test=2).splits["train"]) == 4
    assert len(load(name="parquet:~", n_test=2).splits["train"]) == 8
