"""Which file or row of a user's data each sample is that a monitor measured."""

import numpy as np
import pytest
import torch
from loops import arrays, stranger
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Subset, SubsetRandomSampler, TensorDataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from image_sets import pictures, write_set
from overfit_lab.config import DataConfig
from overfit_lab.data.dataset import load_dataset
from overfit_lab.files.arrays import read_arrays
from overfit_lab.monitor.monitor import Monitor
from overfit_lab.records import layout
from overfit_lab.records.reader import Run

GREY = transforms.Compose([transforms.Grayscale(), transforms.ToTensor()])
(X, Y), _ = arrays()


def watched(folder, data, **settings):
    monitor = Monitor(stranger(), data, folder=folder, **{"probes": ["gradient-norm"], **settings})
    monitor.epoch_ended(is_last=True)
    monitor.close()
    return monitor, Run.open(folder), read_arrays(layout.samples_path(folder))


def test_outcomes_are_joined_with_the_files_of_an_image_folder_split_by_samplers(tmp_path):
    """The usual loop: one ImageFolder, two samplers; numbers of each sample are found again by the name of its file."""
    write_set("imagefolder", tmp_path / "set", pictures(40, side=8), [0, 1] * 20)
    images = ImageFolder(tmp_path / "set" / "train", GREY)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0)).tolist()
    parts = {"train": order[:30], "val": order[30:]}
    loaders = {name: DataLoader(images, 8, sampler=SubsetRandomSampler(part)) for name, part in parts.items()}
    options = {"features": {"tsne": "last", "n": 12, "perplexity": 3}, "logit-geometry": {"n_steps": 1}}
    probes = {"probes": ["confidence", "features", "logit-geometry"], "penultimate": "5", "n": 12, "options": options}
    for splits in ("train", "val"):
        options |= {name: {**options.get(name, {}), "splits": [splits]} for name in probes["probes"]}
        monitor, run, names = watched(tmp_path / splits, loaders, **probes)
        arrays_of = {probe: run.arrays(probe, 1) for probe in probes["probes"]}
        index = arrays_of["confidence"][f"index-{splits}-clean"]
        assert all(np.array_equal(found[f"index-{splits}-clean"], index) for found in arrays_of.values())
        files = names[splits][index]
        assert len(set(files)) == len(files) == min(12, len(parts[splits]))
        assert set(names[splits]) <= {f"train/{'/'.join(images.samples[i][0].split('/')[-2:])}" for i in parts[splits]}
        for row, file in enumerate(files):
            x, label = GREY(Image.open(tmp_path / "set" / file)), int(file.split("/")[1])
            logits = monitor.model.eval()(x[None])[0].detach()
            assert arrays_of["confidence"][f"label-prob-{splits}-clean"][row] == pytest.approx(
                logits.softmax(0)[label].item(), rel=1e-4
            )
            assert arrays_of["features"][f"label-{splits}-clean"][row] == label
            gap = logits[label] - logits[[k for k in range(10) if k != label]].max()
            gap = gap.item()
            assert arrays_of["logit-geometry"][f"geometry-{splits}-clean"][row, 0] == pytest.approx(gap, abs=1e-4)
        assert run.info["data"]["read_from"] == dict.fromkeys(parts, "files of ImageFolder train/")


def rows(names):
    return [int(name[name.index("[") + 1 : -1]) for name in names]


def test_without_files_rows_of_what_was_given_are_the_source(tmp_path):
    data = TensorDataset(X / 255, Y)
    given = {"train": Subset(Subset(data, range(50, 150)), range(0, 90, 3)), "val": Subset(data, range(20))}
    monitor, run, names = watched(tmp_path / "subsets", given)
    for name, split in monitor.data.splits.items():
        assert all(found.startswith("train[") for found in names[name])  # both are rows of one data set
        assert torch.equal(split.x, X[rows(names[name])])
    assert run.info["data"]["read_from"]["val"] == "rows of the TensorDataset given as train"
    monitor, run, names = watched(tmp_path / "arrays", {"train": (X, Y), "test": (X[:30], Y[:30])})
    assert rows(names["train"]) == list(range(200))
    assert run.info["data"]["read_from"]["test"] == "rows of the arrays given"
    two = TensorDataset(X[150:] / 255, Y[150:])
    monitor, _, names = watched(tmp_path / "several", ConcatDataset([Subset(data, range(10)), two]))
    for image, name in zip(monitor.data.splits["train"].x, names["train"], strict=True):
        assert torch.equal(image, X[rows([name])[0] + 150 * name.startswith("train-2[")])


def test_rows_of_a_hugging_face_set(tmp_path):
    datasets = pytest.importorskip("datasets")
    columns = {"image": [Image.fromarray(image[0].numpy()) for image in X[:40]], "label": Y[:40].tolist()}
    shuffled = datasets.Dataset.from_dict(columns).shuffle(seed=1)
    monitor, run, names = watched(tmp_path / "hugging-face", {"train": shuffled})
    assert run.info["data"]["read_from"]["train"] == "rows of the Dataset given as train"
    for image, row in zip(monitor.data.splits["train"].x, rows(names["train"]), strict=True):
        assert np.array_equal(image[0].numpy(), np.array(shuffled[row]["image"]))


def test_a_split_of_this_package_keeps_its_sources_and_true_labels(tmp_path):
    noise = {"kind": "symmetric-flip", "rate": 0.5}
    data = load_dataset(DataConfig(n_train=60, n_val=20, n_test=30, noise=noise), 0, "cpu")
    monitor, run, names = watched(tmp_path / "run", data, probes=None)
    assert all(np.array_equal(names[name], split.sources.names()) for name, split in data.splits.items())
    assert len(run.series("memorisation", "share_untouched", "train", "clean"))
    assert run.info["data"]["n_changed"] == 30
    del monitor


def test_a_folder_to_which_no_epoch_was_written_takes_the_names_of_the_next_monitor(tmp_path):
    data = TensorDataset(X.float() / 255, Y)
    Monitor(stranger(), Subset(data, range(20)), probes=[], folder=tmp_path / "run").close("failed")
    before = read_arrays(layout.samples_path(tmp_path / "run"))
    _, run, after = watched(tmp_path / "run", Subset(data, range(50, 90)), seed=3)
    assert run.config.seed == 3
    assert (len(before["train"]), len(after["train"])) == (20, 40)
    assert not set(before["train"]) & set(after["train"])
