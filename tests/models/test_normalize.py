"""The option ``normalize`` that goes with every model, and names of models."""

import copy

import pytest
import torch
from torch import nn

from overfit_lab.config import RunConfig
from overfit_lab.config.catalog import FIGURES
from overfit_lab.config.recipes import RECIPES
from overfit_lab.data.dataset import dataset_from_arrays
from overfit_lab.errors import ConfigError, UnknownNameError
from overfit_lab.models.constants import choose_constants
from overfit_lab.models.factory import build_model, find_model
from overfit_lab.models.features import penultimate_features
from overfit_lab.models.normalize import find_normalize
from overfit_lab.training.complete import complete
from strangers import images

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)


def plain(n_classes: int) -> nn.Module:
    """A user's factory that is told nothing of mean and std."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, n_classes))


def own(n_classes: int, mean: tuple = (), std: tuple = ()) -> nn.Module:
    """A user's factory that takes mean and std."""
    model = plain(n_classes)
    model.told = (mean, std)
    return model


def anything(**options) -> nn.Module:
    model = plain(options["n_classes"])
    model.told = options
    return model


def data():
    x = (images(8, side=8) * 255).round().to(torch.uint8)
    return dataset_from_arrays((x, torch.arange(8) % 4), (x, torch.arange(8) % 4), mean=MEAN, std=STD)


def build(name, **options):
    part = complete(RunConfig(model={"name": name, **options})).model
    return build_model(part, data(), torch.device("cpu"), seed=0).eval()


def expected_input(x, mean, std):
    return (x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


CHOICES = {
    None: (MEAN, STD),
    "data": (MEAN, STD),
    "none": ((0.0,) * 3, (1.0,) * 3),
    "0.5/0.25": ((0.5,) * 3, (0.25,) * 3),
    "0.4914, 0.4822,0.4465/0.2470,0.2435,0.2616": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
}


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("name", ["small-cnn", "test_normalize:plain"])
def test_the_choice_is_what_the_network_sees(name, choice):
    model = build(name, **({} if choice is None else {"normalize": choice}))
    mean, std = CHOICES[choice]
    if name == "test_normalize:plain" and choice is None:
        mean, std = CHOICES["none"]
    found = find_normalize(model)
    assert found.chosen == (choice is not None)
    x = images(2, side=8)
    if name == "test_normalize:plain":
        torch.testing.assert_close(model(x), model[1](expected_input(x, mean, std).flatten(1)))
    torch.testing.assert_close(found(x), expected_input(x, mean, std))


def test_a_users_network_keeps_its_names_and_layers():
    model = build("test_normalize:plain", normalize="0.5/0.5", penultimate="1")
    assert list(model.state_dict()) == ["1.weight", "1.bias"]
    x = images(2, side=8)
    torch.testing.assert_close(penultimate_features(model, x, "1"), ((x - 0.5) / 0.5).flatten(1))
    twin = copy.deepcopy(model)
    find_normalize(twin).set(torch.zeros(1), torch.ones(1))
    torch.testing.assert_close(twin(x), twin[1](x.flatten(1)), msg="the copy has a normalisation of its own")
    torch.testing.assert_close(model(x), model[1](((x - 0.5) / 0.5).flatten(1)))
    found = torch.func.functional_call(model, dict(model.named_parameters()), (x,))
    torch.testing.assert_close(found, model(x))


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_network_is_normalised_as_well():
    model, x = build("test_normalize:plain", normalize="0.5/0.25"), images(2, side=8)
    expected = model(x)
    model.compile(backend="eager")
    torch.testing.assert_close(model(x), expected)


def test_a_users_factory_that_takes_constants_is_told_those_of_the_choice():
    assert build("test_normalize:own").told == (MEAN, STD)
    assert build("test_normalize:own", normalize="0.5/0.25").told == ((0.5,) * 3, (0.25,) * 3)
    told = build("test_normalize:anything", normalize="none", extra=3).told
    assert (told["mean"], told["std"], told["extra"]) == ((0.0,) * 3, (1.0,) * 3, 3)
    assert "normalize" not in told
    assert "argument" not in told


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("imagenet", "expected data, none, or MEAN/STD"),
        ("0.5", "expected data, none, or MEAN/STD"),
        ("0.5,a/1", "expected data, none, or MEAN/STD"),
        ("0.5/0", "standard deviations above 0"),
        ("nan/1", r"means within \[-1, 1\]"),
    ],
)
def test_bad_choices_are_one_line(choice, message):
    with pytest.raises(ConfigError, match=message):
        complete(RunConfig(model={"name": "mlp", "normalize": choice}))


def test_constants_of_other_images_are_refused():
    with pytest.raises(ConfigError, match="2 and 1 numbers for images of 3 channels"):
        choose_constants("0.5,0.5/1", MEAN, STD)


def test_the_choice_is_written_down_only_where_it_was_made():
    assert "normalize" not in complete(RunConfig(model={"name": "mlp"})).model.options
    options = complete(RunConfig(model={"name": "mlp", "normalize": "0.5 / 0.5"})).model.options
    assert options["normalize"] == "0.5/0.5"


def test_a_name_after_a_colon_is_for_libraries_alone():
    with pytest.raises(ConfigError, match="mlp takes nothing after a colon"):
        find_model("mlp:evil")


def test_an_underscore_counts_as_a_hyphen():
    config = RunConfig.model_validate(
        {
            "model": {"name": "preact_resnet18", "width": 4},
            "objective": "pgd_at",
            "regularizers": ["kd_at", "awp"],
            "data": {"name": "fashion_mnist"},
            "evaluation": {"corruption": "gaussian_noise"},
            "probes": {"metrics": ["gradient_norm"], "options": {"gradient_norm": {"n": 7}}},
        }
    )
    config = config.model_copy(update={"regularizers": config.regularizers[1:]})
    found = complete(config)
    assert found.model.name == "preact-resnet18"
    assert found.objective.name == "pgd-at"
    assert found.data.name == "fashion-mnist"
    assert found.evaluation.corruption == "gaussian-noise"
    assert found.probes.metrics == ("gradient-norm",)
    assert found.probes.options == {"gradient-norm": {"n": 7}}
    assert complete(found) == found


def test_two_spellings_of_one_regularizer_are_twice_the_same():
    config = RunConfig.model_validate({"regularizers": ["early_stopping", "early-stopping"]})
    with pytest.raises(ConfigError, match="listed 2 times"):
        complete(config)


def test_an_unknown_name_stays_as_it_was_given():
    with pytest.raises(UnknownNameError, match="unknown model 'preact_resnet19'; did you mean preact-resnet18"):
        complete(RunConfig(model={"name": "preact_resnet19"}))


def test_recipes_and_figures_have_it_too():
    assert RECIPES["digits_sglr"] == RECIPES["digits-sglr"]
    assert FIGURES.canonical("fig_1") == "fig_1"
    assert "digits_sglr" in RECIPES
