"""Which file or row of its source each sample is, from the split to the outcome of an attack."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from image_sets import KINDS, load, pictures, write_set
from overfit_lab.cli.main import run
from overfit_lab.config import DataConfig
from overfit_lab.data.dataset import load_dataset
from overfit_lab.evaluation.store import read_outcomes
from overfit_lab.files.arrays import read_arrays
from overfit_lab.records import layout


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OVERFIT_LAB_CACHE", str(tmp_path / "cache"))


def pixels_of(kind, folder):
    """The images of a set by the name of their source, read by other means than ours."""
    if kind == "imagefolder":
        return {
            f"{part}/{path.relative_to(folder / part)}": np.array(Image.open(path)).tobytes()
            for part in ("train", "test")
            for path in (folder / part).rglob("*.png")
        }
    if kind == "parquet":
        return {
            f"set/{path.name}, row {i}": np.array(Image.open(io.BytesIO(row["bytes"]))).tobytes()
            for path in folder.glob("*.parquet")
            for i, row in enumerate(pq.read_table(path)["image"].to_pylist())
        }
    pixels = {}
    for path in folder.glob("*.tar"):
        with tarfile.open(path) as shard:
            images = [entry for entry in shard if entry.name.endswith("png")]
            pixels |= {
                f"set/{path.name}/{e.name}": np.array(Image.open(shard.extractfile(e))).tobytes() for e in images
            }
    return pixels


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_every_sample_is_the_image_of_its_source(kind, stream, tmp_path):
    name = write_set(kind, tmp_path / "set", pictures(24), [0, 1] * 12)
    write_set(kind, tmp_path / "set", pictures(10, seed=1), [0, 1] * 5, part="test")
    expected = pixels_of(kind, tmp_path / "set")
    data = load(name, n_val=5, stream=stream, n_train=16)
    for split in data.splits.values():
        names = split.sources.names()
        assert len(set(names)) == len(split)
        for source, image in zip(names, split.x[torch.arange(len(split))], strict=True):
            assert expected[source] == image.permute(1, 2, 0).numpy().tobytes()


def test_arrays_are_named_by_their_rows():
    from sklearn.datasets import load_digits

    data = load_dataset(DataConfig(n_train=20, n_val=5, n_test=9), 0, "cpu")
    images = load_digits().images
    for split in data.splits.values():
        for source, image in zip(split.sources.names(), split.x, strict=True):
            row = int(source.removeprefix("train[").removesuffix("]"))
            assert np.array_equal((images[row] / 16 * 255).round(), image[0].numpy())


def test_outcomes_of_a_run_are_joined_with_the_files_by_name(tmp_path, monkeypatch, capfd):
    """Training, evaluation and torchvision's own reading of the folder, joined by the names of the files."""
    monkeypatch.chdir(tmp_path)
    name = write_set("imagefolder", tmp_path / "set", pictures(32, side=8), [0, 1] * 16)
    write_set("imagefolder", tmp_path / "set", pictures(12, side=8, seed=1), [0, 1] * 6, part="test")
    settings = [
        f"data.name={name}",
        "epochs=1",
        "model.name=mlp",
        "batch_size=8",
        "attack.n_steps=1",
        "data.n_train=null",
        "data.n_test=null",
    ]
    arguments = [part for setting in settings for part in ("--set", setting)]
    assert run(["train", "digits-hard", *arguments, "--out", "run"]) == 0
    assert "test 12 from test/; 2 classes (0000, 0001)" in capfd.readouterr().err
    info = layout.read_info(tmp_path / "run")
    assert info["data"]["read_from"] == {"train": "train/", "test": "test/"}
    assert run(["evaluate", "run", "--attack", "pgd", "--n", "9"]) == 0
    (outcome,) = read_outcomes(tmp_path / "run")
    stranger = ImageFolder(tmp_path / "set" / "test")
    labels = {f"test/{Path(path).relative_to(stranger.root)}": label for path, label in stranger.samples}
    assert len(set(outcome.source)) == 9
    assert [labels[source] for source in outcome.source] == outcome.y.tolist()
    kept = read_arrays(layout.samples_path(tmp_path / "run"))
    assert kept["test"][outcome.index].tolist() == outcome.source.tolist()
    assert len(set(kept["train"])) == 32
