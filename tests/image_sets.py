"""The same images written as every kind of set that can be streamed."""

import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from overfit_lab.config import DataConfig
from overfit_lab.data.dataset import load_dataset

KINDS = ("imagefolder", "parquet", "webdataset")


def encoded(array, format_="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(array).save(file, format=format_, **options)
    return file.getvalue()


def add(shard, name, content):
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    shard.addfile(entry, io.BytesIO(content))


def write_shard(path, images, labels, suffix="png", start=0, label="cls"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as shard:
        for i, (image, k) in enumerate(zip(images, labels, strict=True), start):
            content = image if isinstance(image, bytes) else encoded(image)
            add(shard, f"sample/{i:06d}.{suffix}", content)
            text = str(k) if label == "cls" else json.dumps({"label": int(k), "width": 1})
            add(shard, f"sample/{i:06d}.{label}", text.encode())


def write_set(kind, folder, images, labels, part="train", shards=2):
    """Images (n, H, W) or (n, H, W, 3) uint8, or encoded ones, in the order that the kind reads them in."""
    contents = [image if isinstance(image, bytes) else encoded(image) for image in images]
    labels = [int(k) for k in labels]
    if kind == "imagefolder":
        for i, (content, k) in enumerate(zip(contents, labels, strict=True)):
            path = folder / part / f"{k:04d}" / f"{i:06d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    elif kind == "parquet":
        folder.mkdir(parents=True, exist_ok=True)
        for s, members in enumerate(np.array_split(np.arange(len(contents)), shards)):
            rows = [{"bytes": contents[i], "path": None} for i in members]
            table = pa.table({"image": rows, "label": [labels[i] for i in members]})
            pq.write_table(table, folder / f"{part}-{s}.parquet", row_group_size=7)
    else:
        for s, members in enumerate(np.array_split(np.arange(len(contents)), shards)):
            path = folder / f"{part}-{s:04d}.tar"
            write_shard(path, [contents[i] for i in members], [labels[i] for i in members], start=int(members[0]))
    return f"{kind}:{folder}"


def load(name, seed=0, **options):
    return load_dataset(DataConfig(name=name, **options), seed, "cpu")


def pictures(n, side=12, seed=0, grey=False):
    """Smooth random pictures, so that resizing and JPEG change them little."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
    found = [np.array(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)) for image in coarse]
    return [image[:, :, 0] for image in found] if grey else found
