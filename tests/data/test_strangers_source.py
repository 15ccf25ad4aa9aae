"""A source of data that somebody else wrote, by its dotted name."""

import sys
import types

import pytest
import torch

from overfit_lab.config import DataConfig
from overfit_lab.data.base import RawData
from overfit_lab.data.dataset import load_dataset
from overfit_lab.errors import ConfigError, DataUnavailableError

X = torch.arange(10 * 16).to(torch.uint8).view(10, 1, 4, 4)
Y = torch.arange(10) % 2


@pytest.fixture
def stranger(monkeypatch):
    """A module whose function gives what the test says, and remembers how it was called."""
    module = types.ModuleType("strangers_data")
    monkeypatch.setitem(sys.modules, "strangers_data", module)
    calls = []

    def give(**changes):
        fields = {"x_train": X, "y_train": Y, "x_test": None, "y_test": None, "class_names": ("a", "b")}
        fields |= {"mean": (0.5,), "std": (0.25,)} | changes

        def pictures(argument, *, root, download):
            calls.append((argument, root, download))
            return RawData(**fields)

        module.pictures = pictures
        return load_dataset(DataConfig(name="strangers_data:pictures", download=True, n_test=4), 0, "cpu")

    give.module, give.calls = module, calls
    return give


def test_it_is_called_by_the_protocol_and_its_images_are_split(stranger):
    data = stranger()
    assert stranger.calls == [("", None, True)]
    assert (data.class_names, data.mean, data.std) == (("a", "b"), (0.5,), (0.25,))
    parts = torch.cat([split.x for split in data.splits.values()])
    assert {image.numpy().tobytes() for image in parts} == {image.numpy().tobytes() for image in X}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": X / 255}, "train images are torch.float32 of shape"),
        ({"x_train": X[:, 0]}, r"shape \(10, 4, 4\); expected torch.uint8 of shape \(N, C, H, W\)"),
        ({"x_train": X[:0], "y_train": Y[:0]}, "there are no train images"),
        ({"y_train": Y[:3]}, r"shape \(3,\); expected torch.int64 of shape \(10,\)"),
        ({"y_train": Y.int()}, "train labels are torch.int32"),
        ({"y_train": torch.arange(10)}, "train labels go from 0 to 9; expected 0 to 1"),
        ({"class_names": ("a",), "y_train": 0 * Y}, "1 class; expected at least 2"),
        ({"mean": (0.0, 0.0)}, "2 means and 1 standard deviations; expected 1"),
        ({"x_test": X}, "test images without labels"),
        ({"x_test": X, "y_test": Y - 1}, "test labels go from -1 to 0"),
        ({"x_test": X[:, :, :2], "y_test": Y}, "train and test images differ in shape"),
    ],
)
def test_what_no_run_could_use_is_refused_in_one_line(stranger, changes, message):
    with pytest.raises(DataUnavailableError, match=message) as caught:
        stranger(**changes)
    assert str(caught.value).startswith("strangers_data:pictures: ")
    assert "\n" not in str(caught.value)


def test_anything_but_raw_data_is_refused(stranger):
    stranger.module.pairs = lambda argument, *, root, download: (X, Y)
    with pytest.raises(ConfigError, match="gives tuple, expected a RawData"):
        load_dataset(DataConfig(name="strangers_data:pairs"), 0, "cpu")
