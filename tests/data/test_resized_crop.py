"""Resized crops against torchvision's: the same distribution of parts, the same pixels of a part."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as transforms

from image_sets import pictures
from overfit_lab.config import parse_config
from overfit_lab.data.resized_crop import ResizedCrop
from overfit_lab.errors import ConfigError

N = 1500


@pytest.mark.parametrize(
    ("width", "height", "scale"), [(50, 40, (0.08, 1.0)), (64, 64, (0.3, 0.6)), (100, 20, (0.08, 1))]
)
def test_parts_are_drawn_as_torchvision_draws_them(width, height, scale):
    """Areas, ratios and places of 1,500 parts each; two-sample Kolmogorov-Smirnov tests at 1e-4."""
    torch.manual_seed(0)
    image = torch.zeros(3, height, width)
    theirs = np.array([RandomResizedCrop.get_params(image, scale, (3 / 4, 4 / 3)) for _ in range(N)], dtype=float)
    ours = np.array([ResizedCrop(1, scale).box(0, i, width, height) for i in range(N)], dtype=float)
    top, left, h, w = theirs.T
    x0, y0, x1, y1 = ours.T
    pairs = [(h * w, (y1 - y0) * (x1 - x0)), (w / h, (x1 - x0) / (y1 - y0)), (left, x0), (top, y0)]
    for expected, found in pairs:
        assert ks_2samp(expected, found).pvalue > 1e-4


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 10**6))
def test_a_part_lies_in_the_image_whatever_its_size(width, height, index):
    left, top, right, bottom = ResizedCrop(0).box(2, index, width, height)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


def test_a_part_is_a_function_of_seed_epoch_and_sample():
    box = ResizedCrop(3).box(5, 7, 90, 70)
    assert ResizedCrop(3).box(5, 7, 90, 70) == box
    others = [ResizedCrop(4).box(5, 7, 90, 70), ResizedCrop(3).box(6, 7, 90, 70), ResizedCrop(3).box(5, 8, 90, 70)]
    assert box not in others


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pixels_are_those_of_torchvisions_resized_crop(channels):
    images = torch.from_numpy(np.stack(pictures(5, side=20))).permute(0, 3, 1, 2)
    images = torch.cat([images, images[:, :1]], dim=1)[:, :channels].contiguous()
    zoom, index = ResizedCrop(2), torch.tensor([4, 0, 9, 2, 7])
    found = zoom(images, index, 3)
    for image, i, x in zip(images, index.tolist(), found, strict=True):
        left, top, right, bottom = zoom.box(3, i, 20, 20)
        for plane, expected in zip(image, x, strict=True):
            part = transforms.resized_crop(
                Image.fromarray(plane.numpy()), top, left, bottom - top, right - left, [20, 20]
            )
            assert np.array_equal(np.array(part), expected.numpy())


@pytest.mark.parametrize("scale", [[0, 1], [0.5, 0.2], [0.5, 1.2]])
def test_shares_that_make_no_sense_are_refused(scale):
    with pytest.raises(ConfigError, match=r"data\.crop_scale"):
        parse_config({"data": {"crop_scale": scale}})
