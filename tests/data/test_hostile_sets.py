"""Sets whose labels, rows or images stand for more than there is: one line with the file's name."""

import io
import random
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from overfit_lab.config import DataConfig
from overfit_lab.data.dataset import load_dataset
from overfit_lab.errors import DataUnavailableError, OverfitLabError


def png(width=8, height=8, seed=0):
    content = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(content, "png")
    return content.getvalue()


def parquet(folder, labels, names=None, **options):
    images = [{"bytes": png(seed=i % 20)} for i in range(len(labels))]
    table = pa.table({"image": images, "label": pa.array(labels, pa.int64())})
    if names:
        table = table.replace_schema_metadata({"huggingface": names})
    pq.write_table(table, folder / "train-0.parquet", **options)


def load(name):
    return load_dataset(DataConfig(name=name, n_test=2), seed=0, device="cpu")


def refused(name, reason):
    with pytest.raises(OverfitLabError, match=reason) as caught:
        load(name)
    assert len(str(caught.value).splitlines()) == 1


def test_one_label_of_a_billion_is_a_class_like_any(tmp_path):
    parquet(tmp_path, [0, 1, 10**9] * 4)
    assert load(f"parquet:{tmp_path}").n_classes == 3


def test_one_label_of_a_billion_is_none_where_classes_have_names(tmp_path):
    names = '{"info": {"features": {"label": {"names": ["cat", "dog"]}}}}'
    parquet(tmp_path, [0, 1, 10**9] * 4, names)
    refused(f"parquet:{tmp_path}", "labels go from 0 to 1000000000; expected 0 to 1")


@pytest.mark.parametrize("label", [str(2**31), "-1", "1e9", "[" * 10_000, "9" * 5000, '{"label": NaN}'])
def test_a_label_in_a_shard(tmp_path, label):
    with tarfile.open(tmp_path / "train-0.tar", "w") as shard:
        for i in range(6):
            for ending, content in (("png", png(seed=i)), ("cls", label.encode() if i == 5 else b"1")):
                member = tarfile.TarInfo(f"{i}.{ending}")
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))
    refused(f"webdataset:{tmp_path}", r"train-0\.tar: '5\.cls' holds no whole number")


def test_rows_that_no_file_of_that_size_has(tmp_path):
    table = pa.table({"image": pa.array([b""] * 10**6, pa.binary()), "label": pa.array(np.zeros(10**6, np.int64))})
    pq.write_table(table, tmp_path / "train-0.parquet")
    refused(f"parquet:{tmp_path}", r"train-0\.parquet: cannot be read as Parquet \(1000000 rows in")


def test_a_few_bytes_that_stand_for_an_image_each(tmp_path):
    image = png() + bytes(2**20)  # decoders stop at the image's end
    table = pa.table({"image": [{"bytes": image}] * 200, "label": pa.array([0, 1] * 100)})
    pq.write_table(table, tmp_path / "train-0.parquet", dictionary_pagesize_limit=2**30, compression="zstd")
    assert (tmp_path / "train-0.parquet").stat().st_size < 10_000
    refused(f"parquet:{tmp_path}", r"train-0\.parquet: .*\(column image unfolds to more than 64 MiB\)")


@pytest.mark.parametrize("encoded", [True, False])
def test_a_column_that_unfolds_page_by_page(tmp_path, encoded):
    table = pa.table({"image": [{"bytes": bytes([i]) * 2**23} for i in range(9)], "label": pa.array(range(9))})
    pq.write_table(table, tmp_path / "train-0.parquet", compression="zstd", use_dictionary=encoded)
    refused(f"parquet:{tmp_path}", r"\(column image unfolds to more than 64 MiB\)")


def test_damage_anywhere_is_one_line(tmp_path):
    parquet(tmp_path, [0, 1] * 20, compression="gzip")
    path = tmp_path / "train-0.parquet"
    content, draw = path.read_bytes(), random.Random(0)
    n_refused = 0
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(3):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            load(f"parquet:{tmp_path}")
        except OverfitLabError as error:
            n_refused += 1
            assert len(str(error).splitlines()) == 1  # noqa: PT017 (not every damage is seen)
    assert n_refused > 50


def test_an_image_of_a_billion_pixels(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / "0.png").write_bytes(png())
    content = bytearray(png())
    content[16:24] = (9000).to_bytes(4, "big") * 2
    (tmp_path / "train" / "a" / "0.png").write_bytes(content)
    with pytest.raises(DataUnavailableError, match=r"a/0\.png: .*(pixels|damaged)"):
        load(f"imagefolder:{tmp_path}")
