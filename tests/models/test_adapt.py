"""A user's network is called with images in the type that it takes, whatever the loop around it does."""

import pytest
import torch
from torch import nn

from overfit_lab.errors import ProbeError
from overfit_lab.models.adapt import Adapter, count_logits


class Picky(nn.Module):
    """Tells in which type images and weights come; takes one type of images alone, if it is said which."""

    def __init__(self, wanted=None, note=lambda *_: None):
        super().__init__()
        self.fc, self.wanted, self.note = nn.Linear(12, 3), wanted, note

    def forward(self, x):
        if self.wanted is not None and x.dtype != self.wanted:
            raise TypeError(f"images of {x.dtype}")
        mode = torch.is_autocast_enabled("cpu"), torch.is_inference_mode_enabled()
        self.note((x.dtype, self.fc.weight.dtype, *mode))
        return self.fc(x.flatten(1).to(self.fc.weight.dtype))


IMAGE = torch.rand(1, 3, 2, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("weights", "images", "computed"),
    [
        (torch.float32, torch.float32, torch.float32),
        (torch.float64, torch.float64, torch.float64),
        (torch.bfloat16, torch.float32, torch.float32),
        (torch.float16, torch.float32, torch.float32),
    ],
)
def test_images_come_in_the_type_that_weights_are_computed_with(weights, images, computed):
    torch.manual_seed(0)
    seen = []  # outside of the model, whose own lists are put back
    model = Picky(note=seen.append).to(weights)
    held = model.fc.weight
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16), Adapter().applied(model):
        logits = model(IMAGE)
    assert seen == [(images, computed, False, False)]
    expected = IMAGE.flatten(1).double() @ held.detach().double().T + model.fc.bias.detach().double()
    torch.testing.assert_close(logits.detach().double(), expected, rtol=1e-5, atol=1e-6)
    assert model.fc.weight is held
    assert held.dtype == weights


def test_another_type_can_be_named():
    model = Picky(torch.float64)
    with pytest.raises(ProbeError, match=r"cannot be called with images .* for logits \(images of"):
        count(Adapter(), model)
    assert count(Adapter(dtype=torch.float64), model) == 3


def count(adapter, model):
    with adapter.applied(model):
        return count_logits(model, IMAGE)
