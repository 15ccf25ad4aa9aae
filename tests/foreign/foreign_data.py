"""Data sets as other tools write them, for ``--data``."""

import gzip
import shutil
from collections import Counter

import numpy as np
import webdataset
from PIL import Image
from torchvision.datasets import ImageFolder

from foreign.foreign_case import Case
from image_sets import encoded, pictures
from overfit_lab.config import RunConfig, apply_overrides
from overfit_lab.data.dataset import load_dataset


def samples_of(data):
    """Every image and label that was read, in any order and split."""
    return Counter(
        (image.permute(1, 2, 0).squeeze().numpy().tobytes(), data.class_names[int(y)])
        for split in data.splits.values()
        for image, y in zip(split.x, split.y, strict=True)
    )


def loading(make):
    """A run that makes a set, which gives its name and what has to be read: sizes by split, and samples."""

    def run(folder, option):
        name, sizes, expected = make(folder)
        settings = [f"data.name={name}", f"data.root={folder}", "data.n_test=4" if "test" not in sizes else ""]
        config = apply_overrides(RunConfig(), [*filter(None, settings), *filter(None, [option])])
        data = load_dataset(config.data, 0, "cpu")
        for split, n in sizes.items():
            assert len(data.splits[split]) == n, split
        if expected is not None:
            assert samples_of(data) == expected

    return run


def folders(folder, **parts):
    """Images saved by Pillow in PART/CLASS/N.png."""
    for part, n in parts.items():
        for i, pixels in enumerate(pictures(n, seed=n)):
            path = folder / part.replace("__", "/") / ("cat", "dog")[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


def as_torchvision_reads(*roots):
    """Images and names of classes by torchvision's own reader."""
    return Counter(
        (np.array(image).tobytes(), images.classes[label])
        for images in map(ImageFolder, roots)
        for image, label in images
    )


def image_folder(sizes, *parts, **more):
    def make(folder):
        folders(folder, **dict(parts), **more)
        expected = as_torchvision_reads(*(folder / part for part, _ in parts)) if not more else None
        return f"imagefolder:{folder}", sizes, expected

    return loading(make)


def unpacked_on_a_mac(folder):
    folders(folder, Train=8, Test=4)
    expected = as_torchvision_reads(folder / "Train", folder / "Test")
    (folder / "__MACOSX" / "Train").mkdir(parents=True)
    (folder / "Train" / "cat" / "._0.png").write_bytes(b"\0\5\26\7")
    return f"imagefolder:{folder}", {"train": 8, "test": 4}, expected


def palettes(folder):
    folders(folder, train=8, test=4)
    for path in folder.rglob("*.png"):
        Image.open(path).convert("P", palette=Image.Palette.ADAPTIVE, colors=32).save(path)
    return f"imagefolder:{folder}", {"train": 8, "test": 4}, as_torchvision_reads(folder / "train", folder / "test")


def sixteen_bits(folder):
    folders(folder, train=8, test=4)
    Image.fromarray(np.full((12, 12), 40_000, np.uint16)).save(folder / "train" / "cat" / "0.png")
    return f"imagefolder:{folder}", {}, None


def hugging_face(n, seed, **columns):
    """A set with images and names of classes, as ``datasets`` makes it, and its samples."""
    import datasets

    images = pictures(n, seed=seed)
    labels = {name: [i % len(names) for i in range(n)] for name, names in columns.items()}
    features = {"img": datasets.Image(), **{name: datasets.ClassLabel(names=names) for name, names in columns.items()}}
    rows = {"img": [Image.fromarray(pixels) for pixels in images], **labels}
    first = next(iter(columns))
    samples = Counter((pixels.tobytes(), columns[first][k]) for pixels, k in zip(images, labels[first], strict=True))
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features)), samples


CLASSES = {"label": ["cat", "dog"]}


def parquet(*places, sizes, expected=True, **columns):
    def make(folder):
        samples = Counter()
        for i, place in enumerate(places):
            path = folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            data, its = hugging_face(8 - 2 * i, i, **(columns or CLASSES))
            data.to_parquet(path)
            samples += its
        return f"parquet:{folder}", sizes, samples if expected else None

    return loading(make)


def saved_to_disk(folder):
    hugging_face(8, 0, **CLASSES)[0].save_to_disk(folder / "set", num_proc=None)
    return f"parquet:{folder / 'set'}", {}, None


def shards(n=8, cut=None, **more):
    def make(folder):
        expected = Counter()
        with webdataset.ShardWriter(str(folder / "train-%06d.tar"), maxcount=4, verbose=0) as writer:
            for i, pixels in enumerate(pictures(n)):
                writer.write({"__key__": f"{i:06d}", "png": encoded(pixels), "cls": i % 2, **more})
                expected[pixels.tobytes(), str(i % 2)] += 1
        if cut is not None:
            last = folder / "train-000001.tar"
            last.write_bytes(last.read_bytes()[:cut])
        return f"webdataset:{folder}", {}, expected

    return loading(make)


def packed_mnist(folder):
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    with gzip.open(raw / "train-images-idx3-ubyte.gz", "wb") as file:
        file.write(b"\0\0\10\3")
    return "mnist", {}, None


def configurations(folder):
    for name in ("plain", "rotated"):
        path = folder / name / "train" / "0000.parquet"
        path.parent.mkdir(parents=True)
        hugging_face(8, 0, **CLASSES)[0].to_parquet(path)
    return f"parquet:{folder}", {}, None


def one_configuration(folder):
    _, sizes, _ = configurations(folder)
    return f"parquet:{folder / 'plain'}", sizes, hugging_face(8, 0, **CLASSES)[1]


def files_without_folders(folder):
    folders(folder, train=8)
    for path in folder.rglob("*.png"):
        shutil.move(path, folder / f"{path.parent.name}-{path.name}")
    shutil.rmtree(folder / "train")
    return f"imagefolder:{folder}", {}, None


HF = ("datasets",)
TWO = {"fine_label": ["a", "b", "c", "d"], "label": ["animal", "thing"]}
DATA = [
    Case(
        "`train/CLASS/*.png`, `test/CLASS/*.png`",
        "torchvision's ImageFolder",
        image_folder({"train": 8, "test": 4}, ("train", 8), ("test", 4)),
    ),
    Case(
        "`train/`, `valid/` and `test/`",
        "torchvision's ImageFolder",
        image_folder({"train": 8, "val": 6, "test": 4}, ("train", 8), ("valid", 6), ("test", 4)),
    ),
    Case("`CLASS/*.png` alone", "torchvision's ImageFolder", image_folder({"train": 10, "test": 2}, (".", 12))),
    Case(
        "`Train/`, `Test/`, with `__MACOSX/` and `._*` of a Mac's archive",
        "Archive Utility",
        loading(unpacked_on_a_mac),
    ),
    Case("PNG with palettes", "Pillow", loading(palettes)),
    Case(
        "a folder of the same classes under another name",
        "torchvision's ImageFolder",
        image_folder({"train": 8, "val": 6, "test": 4}, ("train", 8), ("test", 4), ("holdout", 6)),
        option="data.splits.val=holdout",
        refused="imagefolder:DIR: holdout/ holds folders of the same classes, and which split it is its name does "
        "not say; "
        "use data.splits.train=, .val= or .test=",
    ),
    Case(
        "`val/` beside `dev/`",
        "torchvision's ImageFolder",
        image_folder({"train": 8, "val": 6}, ("train", 8), ("val", 4), ("dev", 6)),
        option="data.splits={val: dev, test: val}",
        refused="imagefolder:DIR: 'dev' and 'val' may both be the val split; name it by data.splits.val=",
    ),
    Case(
        "16-bit PNG",
        "Pillow",
        loading(sixteen_bits),
        refused="DIR/train/cat/0.png: an image of more than 8 bits a channel (mode I;16); make it one of 8 bits",
    ),
    Case(
        "images whose class is in their names",
        "Pillow",
        loading(files_without_folders),
        refused="imagefolder:DIR: DIR has no folder of a class",
    ),
    Case(
        "`data/train-00000-of-00001.parquet` and so on, with names of classes",
        "datasets, `to_parquet`",
        parquet("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet", sizes={"train": 8, "test": 6}),
        needs=HF,
    ),
    Case(
        "`NAME/train/0000.parquet`, the hub's converted files",
        "datasets, `to_parquet`",
        parquet("plain/train/0000.parquet", "plain/test/0000.parquet", sizes={"train": 8, "test": 6}),
        needs=HF,
    ),
    Case(
        "several configurations of a set",
        "datasets, `to_parquet`",
        loading(configurations),
        refused="parquet:DIR: holds several configurations of a set, plain, rotated; name the folder of one, such as "
        "parquet:DIR/rotated",
        needs=HF,
    ),
    Case("one of them, by the folder of its name", "datasets, `to_parquet`", loading(one_configuration), needs=HF),
    Case(
        "two columns of labels",
        "datasets, `to_parquet`",
        parquet("train.parquet", sizes={}, **TWO),
        option="data.columns.label=fine_label",
        refused="DIR/train.parquet: label columns label and fine_label; name one by data.columns.label=",
        needs=HF,
    ),
    Case(
        "one of two files of a split",
        "datasets, `to_parquet`",
        parquet("train-00001-of-00002.parquet", sizes={}),
        refused="parquet:DIR: train has 1 of the 2 files that their names speak of",
        needs=HF,
    ),
    Case(
        "a folder of `save_to_disk`",
        "datasets",
        loading(saved_to_disk),
        refused="parquet:DIR/set: no train-*.parquet in the folder; data.splits.train= names it",
        needs=HF,
    ),
    Case("shards of `png` and `cls`", "webdataset, ShardWriter", shards()),
    Case(
        "a shard that ends early",
        "webdataset, ShardWriter",
        shards(cut=4000),
        refused="DIR/train-000001.tar: cannot be read as a plain tar file (unexpected end of data)",
    ),
    Case(
        "two images a sample",
        "webdataset, ShardWriter",
        shards(jpg=b"another"),
        option="data.columns.image=png",
        refused="DIR/train-000000.tar: '/000000' has the images jpg and png; name one by data.columns.image=",
    ),
    Case(
        "MNIST's .gz in their place",
        "gzip",
        loading(packed_mnist),
        refused="mnist: DIR/MNIST/raw/train-images-idx3-ubyte.gz is packed; it is read unpacked (gunzip), in "
        "DIR/MNIST/raw",
    ),
]
