"""Counted arithmetic against counting by hand."""

import torch
from torch import nn
from torch.nn import functional

from flops import Flops
from overfit_lab.methods.attacks.pgd import PGD
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.models.compute.work import forward_flops, training_flops
from overfit_lab.models.preact_resnet import preact_resnet18
from overfit_lab.models.spec import ModelSpec
from overfit_lab.seeds import derive_generator

IMAGES = torch.rand(4, 3, 16, 16)


def test_forward_of_a_known_network():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 256, 10))
    assert forward_flops(model, IMAGES) == 2 * (256 * 8 * 27 + 2048 * 10)
    assert model.training


def test_training_counts_what_an_update_with_its_attack_does():
    """The count by multiples of a forward pass against the operations that really run; the first layer's gradient to
    the image is left out of neither, the stem being the only difference.
    """
    model = preact_resnet18(ModelSpec(5), width=8)
    y = torch.zeros(4, dtype=torch.long)

    def loss(z):
        return functional.cross_entropy(z, y, reduction="none")

    attack = PGD(ThreatModel(), step_size=0.01, n_steps=3)
    attack(model, IMAGES, loss, generator=derive_generator(0))
    with Flops() as counter:
        images = attack(model, IMAGES, loss, generator=derive_generator(0))
        loss(model(images)).mean().backward()
    predicted = training_flops(forward_flops(model, IMAGES), n_images=4, attack_steps=3)
    assert abs(counter.total / predicted - 1) < 0.05


def test_pgd_10_is_23_forward_passes():
    assert training_flops(100, n_images=2, attack_steps=10) == 2 * 2300
    assert training_flops(100, n_images=2, attack_steps=0) == 2 * 300
