"""The library's attacks behind our interface: the same images, and what they need."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from overfit_lab.config import parse_config
from overfit_lab.config.catalog import ATTACKS
from overfit_lab.errors import ConfigError
from overfit_lab.methods.attacks.autoattack import APGD, APGDTargeted, AutoAttack, FABTargeted, Square
from overfit_lab.methods.attacks.gradient import Connected, input_gradient
from overfit_lab.methods.attacks.losses import CrossEntropy
from overfit_lab.methods.attacks.pgd import PGD
from overfit_lab.methods.threat import ThreatModel
from overfit_lab.seeds import derive_generator
from overfit_lab.training.complete import complete

SEED = 5
LIBRARY_NORMS = {"linf": "Linf", "l2": "L2"}


def network(n_classes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(n_classes)
        layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, n_classes)]
    return nn.Sequential(*layers).eval()


def images(model, n=24):
    """Images with the model's own answers as labels, the first three wrong."""
    x = torch.rand(n, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    y = model(x).argmax(1)
    return x, torch.cat([(y[:3] + 1) % model[-1].out_features, y[3:]])


def answers(model, x):
    with torch.no_grad():
        return model(x).argmax(1)


def library(model, norm, eps, attacks):
    from pyautoattack import AutoAttack as Library

    made = Library(
        model, norm=LIBRARY_NORMS[norm], eps=eps, seed=SEED, version="custom", attacks=list(attacks), device="cpu"
    )
    made.apgd.n_restarts = made.fab.n_restarts = 1
    made.apgd.n_iter, made.apgd_targeted.n_iter, made.fab.n_iter = 12, 12, 12
    for part in (made.apgd, made.apgd_targeted):
        part.n_iter_2, part.n_iter_min, part.size_decr = 2, 1, 1
    made.fab.n_target_classes = made.apgd_targeted.n_target_classes = min(9, model[-1].out_features - 1)
    made.square.n_queries = 150
    return made


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.02), ("l2", 0.12)])
@pytest.mark.parametrize("name", ["apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square"])
@pytest.mark.parametrize("n_classes", [5, 10])
def test_a_part_finds_what_the_librarys_own_run_finds(name, norm, eps, n_classes):
    model = network(n_classes)
    x, y = images(model)
    theirs, _ = library(model, norm, eps, [name]).run_standard_evaluation(x, y, batch_size=100)
    attack = ATTACKS[name](ThreatModel(norm, eps), seed=SEED, n_iter=12, n_queries=150)
    ours = attack(model, x, CrossEntropy(y), generator=derive_generator(0, "a"))
    right, right_by_library = answers(model, ours) == y, answers(model, theirs) == y
    assert torch.equal(right, right_by_library)
    assert 0 < right.sum() < len(y), "the example should be neither hopeless nor safe"
    broken = ~right & (answers(model, x) == y)
    assert torch.equal(ours[broken], theirs[broken])


@pytest.mark.slow
def test_the_ensemble_gives_the_librarys_standard_result_to_the_sample():
    """With the full number of steps and queries of the standard version."""
    from pyautoattack import AutoAttack as Library

    model = network(10)
    x, y = images(model, 16)
    theirs, _ = Library(model, norm="Linf", eps=0.02, seed=SEED, device="cpu").run_standard_evaluation(x, y)
    ours = AutoAttack(ThreatModel("linf", 0.02), seed=SEED)(model, x, CrossEntropy(y), generator=derive_generator(0))
    assert torch.equal(answers(model, ours), answers(model, theirs))
    assert torch.equal(ours, torch.where((answers(model, theirs) == y).view(-1, 1, 1, 1), ours, theirs))
    assert 0 < (answers(model, ours) == y).sum() < 13


def test_square_gives_its_best_try_where_the_model_stays_right():
    model = network(10)
    x, y = images(model)
    attack = Square(ThreatModel("linf", 0.005), seed=SEED, n_queries=60)
    found = attack(model, x, CrossEntropy(y), generator=derive_generator(0))
    stays = (answers(model, found) == y) & (answers(model, x) == y)
    assert stays.sum() > 3
    assert ((found - x)[stays].flatten(1).abs().amax(1) > 0).all()
    with torch.no_grad():
        margin = [CrossEntropy(y)(model(images_))[stays].mean() for images_ in (x, found)]
    assert margin[1] > margin[0]
    wrong = answers(model, x) != y
    assert torch.equal(found[wrong], x[wrong])


def test_without_a_seed_the_generator_decides():
    model = network(10)
    x, y = images(model)
    attack = Square(ThreatModel("linf", 0.02), n_queries=20)
    first, second, third = (
        attack(model, x, CrossEntropy(y), generator=derive_generator(seed, "a")) for seed in (0, 0, 1)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


@pytest.mark.parametrize(("attack", "n_classes"), [(APGDTargeted, 3), (AutoAttack, 3), (ATTACKS["apgd-dlr"], 2)])
def test_too_few_classes_are_refused_in_one_line(attack, n_classes):
    model = network(n_classes)
    x, y = images(model)
    with pytest.raises(ConfigError, match=f"classes or more, this model has {n_classes}"):
        attack(ThreatModel())(model, x, CrossEntropy(y), generator=derive_generator(0))


@pytest.mark.parametrize("attack", [APGD, FABTargeted, Square])
def test_two_classes_are_enough_for_the_others(attack):
    model = network(2)
    x, y = images(model)
    found = attack(ThreatModel("linf", 0.3), n_iter=5, n_queries=30)(
        model, x, CrossEntropy(y), generator=derive_generator(0)
    )
    assert (answers(model, found) == y).sum() < (answers(model, x) == y).sum()


def test_a_loss_without_labels_is_refused():
    model = network(4)
    x, _ = images(model)
    with pytest.raises(ConfigError, match="attack 'square': aims at wrong answers"):
        Square(ThreatModel())(model, x, lambda z: z.sum(1), generator=derive_generator(0))


def test_other_pixel_bounds_are_refused():
    with pytest.raises(ConfigError, match=r"pixels in \[0, 1\] only, got \[-1"):
        APGD(ThreatModel(low=-1.0))


def test_a_run_cannot_train_with_it():
    with pytest.raises(ConfigError, match=r"attack.name = 'autoattack': aims at wrong answers"):
        complete(parse_config({"attack": {"name": "autoattack"}}))


def test_too_few_classes_are_refused_before_anything_is_trained(tmp_path, monkeypatch):
    """It was once found out at the first evaluation, after an epoch."""
    from overfit_lab.training import build
    from overfit_lab.training.run import train_run
    from tiny import tiny_config

    def three_classes(*arguments):
        return replace(load(*arguments), class_names=("a", "b", "c"))

    load = build.load_dataset
    monkeypatch.setattr(build, "load_dataset", three_classes)
    with pytest.raises(ConfigError, match="'autoattack': needs 4 classes or more, digits has 3"):
        train_run(tiny_config("hard", evaluation={"attack": "autoattack"}), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_a_run_may_be_evaluated_with_it(tmp_path):
    from overfit_lab.records.reader import Run
    from overfit_lab.training.run import train_run
    from tiny import tiny_config

    own = {"attack": "square", "n_queries": 30, "n_steps": 3, "chunk": 24}
    train_run(tiny_config("hard", epochs=1, evaluation=own, probes={}), tmp_path / "run", device="cpu")
    robust, clean = (
        Run.open(tmp_path / "run").value_at(1, "evaluation", *where)
        for where in (("acc_adv", "test", "adversarial"), ("acc_clean", "test", "clean"))
    )
    assert robust <= clean


class Cut(nn.Module):
    """No way back from the logits to the image."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model((x * 8).round().int().float() / 8)


@pytest.mark.parametrize("name", ["pgd", "apgd-ce", "apgd-t", "fab-t", "fab", "square"])
def test_a_model_that_lets_no_gradient_through_is_attacked_without_an_error(name):
    model = Cut(network(5))
    x = torch.rand(8, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    y = answers(model, x)
    settings = {"step_size": 0.01, "n_steps": 3} if name == "pgd" else {"n_iter": 3, "n_queries": 10}
    found = ATTACKS[name](ThreatModel("linf", 0.05), **settings)(
        model, x, CrossEntropy(y), generator=derive_generator(0)
    )
    assert (found - x).abs().max() <= 0.05 + 1e-6


def test_connected_changes_no_logit_and_no_gradient():
    model = network(5)
    x = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(1)).requires_grad_(True)
    plain, connected = model(x), Connected(model)(x)
    assert torch.equal(plain, connected)
    first, second = (torch.autograd.grad(z.square().sum(), x)[0] for z in (plain, connected))
    assert torch.equal(first, second)
    assert torch.equal(input_gradient(torch.ones(()), x), torch.zeros_like(x))


def test_pgd_restarts_are_counted():
    attack = PGD(ThreatModel(), step_size=0.01, n_steps=4, n_restarts=3)
    calls = []
    model = network(5)
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    x, y = images(model)
    calls.clear()
    attack(model, x, CrossEntropy(y), generator=derive_generator(0))
    assert len(calls) == attack.n_calls


@pytest.mark.parametrize("name", ["apgd-ce", "apgd-t", "fab", "fab-t", "square", "autoattack"])
def test_the_stated_number_of_calls_is_about_right(name):
    """Progress and its ETA are counted in calls of the model, on images that stay right."""
    model = network(10)
    calls = []
    attack = ATTACKS[name](ThreatModel("linf", 1e-4), n_iter=10, n_queries=40)
    x, _ = images(model)
    y = answers(model, x)
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    attack(model, x, CrossEntropy(y), generator=derive_generator(0))
    assert attack.n_calls == pytest.approx(len(calls), rel=0.2)
