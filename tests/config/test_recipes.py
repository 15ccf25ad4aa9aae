"""The scales between the demo and the paper: what they are, and that their methods can be compared."""

import pytest
import torch

from overfit_lab.config.recipes import RECIPES, recipe
from overfit_lab.models.preact_resnet import preact_resnet18
from overfit_lab.models.spec import ModelSpec

MEDIUM = [name for name in RECIPES if name.startswith("cifar10-medium-")]


def parameters_by_hand(width):
    """Stem, final batch norm, linear layer; a stage's four 3x3 convolutions, its shortcut, its four batch norms."""
    sides = [width, width, 2 * width, 4 * width, 8 * width]
    total = 9 * 3 * width + 2 * sides[-1] + 10 * sides[-1] + 10
    for stage in range(4):
        n_in, n_out = sides[stage], sides[stage + 1]
        total += 9 * n_in * n_out + 3 * 9 * n_out * n_out + (n_in * n_out if stage else 0)
        total += 2 * n_in + 3 * 2 * n_out
    return total


def test_the_medium_network_has_all_blocks_half_the_width_and_a_stride_of_two():
    model = recipe("cifar10-medium-hard").model
    assert model.name == "preact-resnet18"
    network = preact_resnet18(ModelSpec(10), **model.options)
    assert sum(p.numel() for p in network.parameters()) == parameters_by_hand(32)
    sizes = []
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda m, _, out: sizes.append(out.shape[-1]))
    network.eval()(torch.zeros(1, 3, 32, 32))
    assert sizes[0] == 16
    assert min(sizes) == 2


def test_the_medium_data_are_a_fifth_a_validation_split_and_the_whole_test_split():
    data = recipe("cifar10-medium-hard").data
    assert (data.n_train, data.n_val, data.n_test) == (10_000, 1000, None)


@pytest.mark.parametrize("name", MEDIUM)
def test_methods_of_the_medium_scale_differ_in_the_method_alone(name):
    hard, other = (recipe(which).model_dump() for which in ("cifar10-medium-hard", name))
    different = {key for key in hard if hard[key] != other[key]} - {"name"}
    assert different <= {"labels", "objective", "regularizers"}
    assert other["compute"]["precision"] == "bf16"


def test_probes_share_the_images_that_an_evaluation_attacked():
    config = recipe("cifar10-medium-hard")
    assert config.probes.every % config.evaluation.every == 0
    assert config.evaluation.n_val == config.data.n_val
