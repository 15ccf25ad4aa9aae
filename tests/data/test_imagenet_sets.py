"""Tiny ImageNet in its own layout and ImageNet in shards, in miniature; the recipes train on them."""

import numpy as np
import pytest
import torch

from image_sets import encoded, load, pictures, write_shard
from overfit_lab.cli.main import run
from overfit_lab.data.streamed import StreamedImages
from overfit_lab.errors import DataUnavailableError
from overfit_lab.records.reader import Run

WNIDS = ("n01443537", "n01629819", "n02056570")
SHORT = ["epochs=1", "batch_size=4", "attack.n_steps=1", "evaluation.n_steps=1", "evaluation.n_train=4"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OVERFIT_LAB_CACHE", str(tmp_path / "cache"))


def write_tiny(root, side=64, per_class=4):
    folder = root / "tiny-imagenet-200"
    images = iter(pictures(per_class * 3 + 5, side=side))
    for wnid in WNIDS:
        (folder / "train" / wnid / "images").mkdir(parents=True)
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text("")
        for i in range(per_class):
            (folder / "train" / wnid / "images" / f"{wnid}_{i}.JPEG").write_bytes(encoded(next(images), "JPEG"))
    (folder / "val" / "images").mkdir(parents=True)
    lines = []
    for i in range(5):
        (folder / "val" / "images" / f"val_{i}.JPEG").write_bytes(encoded(next(images), "JPEG"))
        lines.append(f"val_{i}.JPEG\t{WNIDS[i % 3]}\t0\t32\t44\t62\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    return folder


def test_tiny_imagenet_in_the_folder_as_it_is_unpacked(tmp_path):
    folder = write_tiny(tmp_path)
    data = load(f"tiny-imagenet:{folder}")
    assert data.class_names == WNIDS
    assert data.shape == (3, 64, 64)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 12, "test": 5}
    assert data.splits["test"].y.sort().values.tolist() == [0, 0, 1, 1, 2]
    streamed = load("tiny-imagenet", root=str(tmp_path), stream=True)
    for name, split in data.splits.items():
        assert torch.equal(streamed.splits[name].x[:], split.x)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("val_0.JPEG\tn99\t0", "line 1: .*expected FILE, tab, a class of train"),
        ("../../secret.JPEG\tn01443537\t0", "line 1: "),
        ("\n\n", "names no image"),
        ("absent.JPEG\tn01443537\t0", "absent.JPEG: cannot be read"),
    ],
)
def test_faulty_annotations_are_refused(tmp_path, line, message):
    folder = write_tiny(tmp_path, side=8, per_class=1)
    (folder / "val" / "val_annotations.txt").write_text(line)
    with pytest.raises(DataUnavailableError, match=message):
        load(f"tiny-imagenet:{folder}")


def test_absent_sets_say_how_they_are_had(tmp_path):
    with pytest.raises(DataUnavailableError, match=r"unpack tiny-imagenet-200\.zip"):
        load("tiny-imagenet", root=str(tmp_path))
    with pytest.raises(DataUnavailableError, match="give imagenet:DIR with train/WNID"):
        load("imagenet", root=str(tmp_path))


def test_the_recipe_of_tiny_imagenet_trains(tmp_path):
    write_tiny(tmp_path)
    settings = [*SHORT, f"data.root={tmp_path}", "model.width=8", "model.blocks=[1,1,1,1]", "probes.n=8"]
    settings += ["probes.metrics=[iiw,calibration]", "model.stem_stride=2"]
    out = tmp_path / "run"
    arguments = [part for setting in settings for part in ("--set", setting)]
    assert run(["train", "tiny-imagenet-hard", "--device", "cpu", "--out", str(out), *arguments]) == 0
    records = Run.open(out).records
    assert {"acc_adv", "iiw", "ece"} <= set(records["field"])


@pytest.mark.parametrize("layout", ["shards", "folders"])
def test_the_recipe_of_imagenet_trains_on_shards_and_folders(tmp_path, layout):
    """Images of many sizes; rows of SGLR on disk."""
    sizes = np.random.default_rng(0).integers(40, 60, (14, 2))
    images = [image[:h, :w] for image, (h, w) in zip(pictures(14, side=60), sizes, strict=True)]
    images[3] = images[3][:, :, 0]
    labels = np.arange(14) % 2
    for part, members in (("train", range(10)), ("val", range(10, 14))):
        if layout == "shards":
            contents = [encoded(images[i], "JPEG") for i in members]
            write_shard(
                tmp_path / "imagenet" / f"{part}-000.tar", contents, labels[members[0] : members[-1] + 1], "jpg"
            )
        else:
            for i in members:
                path = tmp_path / "imagenet" / part / WNIDS[labels[i]] / f"{i}.JPEG"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encoded(images[i], "JPEG"))
    out = tmp_path / "run"
    settings = [*SHORT, f"data.root={tmp_path}", "model.name=torchvision:resnet18", "data.image_size=32"]
    settings += ["data.shorter_side=36", "probes.metrics=[calibration]", "probes.n=4", "compute.label_memory=disk"]
    arguments = [part for setting in settings for part in ("--set", setting)]
    assert run(["train", "imagenet-sglr", "--device", "cpu", "--out", str(out), *arguments]) == 0
    finished = Run.open(out)
    assert finished.info["status"] == "completed"
    assert finished.config.data.shorter_side == 36
    train = load("imagenet", root=str(tmp_path), image_size=32, augment=["resized-crop"]).splits["train"]
    assert isinstance(train.x, StreamedImages)
