"""Named configurations, as small functions that build on one another. Imports no component and no torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from overfit_lab.config import RunConfig, parse_config
from overfit_lab.errors import unknown_name

ALL_PROBES = ["gradient-norm", "iiw", "calibration", "confidence", "hessian", "features", "memorisation"]

SGLR_SHARP = {
    "name": "sglr",
    "preset": "authors-code",
    "temperature": 0.5,
    "start_epoch": "45%",
    "clean_forward": "frozen",
}

SGLR_NOISE = {
    "name": "sglr",
    "preset": "authors-code",
    "a": 0.7,
    "temperature": 0.5,
    "start_epoch": 0,
    "clean_forward": "frozen",
}
"""For standard training on noisy digits. Chosen on seed 0; with a = 0.9 and T = 1 train accuracy climbs to 86%."""


def digits(name: str, **parts: Any) -> dict[str, Any]:
    """8x8 digits with 30% of the training labels flipped: a multilayer perceptron overfits robustly in seconds.

    l_inf, eps 0.1, PGD-7; 100 epochs with decays at 50 and 75. The overfitting comes with the label noise; without it
    digits lose about one point.
    """
    return {
        "name": name,
        "epochs": 100,
        "batch_size": 32,
        "data": {"name": "digits", "n_train": 500, "n_test": 797, "noise": {"kind": "symmetric-flip", "rate": 0.3}},
        "model": {"name": "mlp"},
        "attack": {"norm": "linf", "eps": 0.1, "step_size": 0.025, "n_steps": 7},
        "optimizer": {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-2},
        "schedule": {"name": "piecewise", "milestones": [50, 75]},
        "evaluation": {"every": 1, "n_steps": 20, "n_train": 500, "n_test": 797},
        "probes": {"every": 5, "metrics": ALL_PROBES},
        **parts,
    }


def digits_standard() -> dict[str, Any]:
    """Standard training on the digits of the demo, for comparison: no attack in training."""
    return digits("digits-standard", objective={"name": "standard"})


def digits_hard() -> dict[str, Any]:
    """PGD adversarial training with hard labels on noisy digits: overfits robustly."""
    return digits("digits-hard")


def digits_smooth() -> dict[str, Any]:
    """The same with label smoothing, r = 0.3."""
    return digits("digits-smooth", labels={"name": "smooth", "r": 0.3})


def digits_sglr() -> dict[str, Any]:
    """The same with SGLR: the averaged, sharpened prediction (T = 0.5) as target from 45% of the run on."""
    return digits("digits-sglr", labels=SGLR_SHARP)


def digits_noise(name: str, **parts: Any) -> dict[str, Any]:
    """Standard training on digits of which 40% of the labels were drawn anew: what Figs. 4 and 5 look at.

    No attack anywhere, and little weight decay, so that hard labels can be memorised.
    """
    return digits(
        name,
        **{
            "objective": {"name": "standard"},
            "data": {"name": "digits", "n_train": 500, "n_test": 797, "noise": {"kind": "symmetric", "rate": 0.4}},
            "optimizer": {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
            "evaluation": {"every": 1, "n_steps": 0, "n_train": 500, "n_test": 797},
            "probes": {"every": 10, "metrics": ["calibration", "confidence", "features", "memorisation"]},
            **parts,
        },
    )


def digits_noise_hard() -> dict[str, Any]:
    """Standard training with hard labels under 40% symmetric label noise: memorises."""
    return digits_noise("digits-noise-hard")


def digits_noise_smooth() -> dict[str, Any]:
    """The same with label smoothing, r = 0.3."""
    return digits_noise("digits-noise-smooth", labels={"name": "smooth", "r": 0.3})


def digits_noise_sglr() -> dict[str, Any]:
    """The same with SGLR."""
    return digits_noise("digits-noise-sglr", labels=SGLR_NOISE)


def cifar10_small(name: str, **parts: Any) -> dict[str, Any]:
    """2,000 CIFAR-10 images and a narrow PreAct-ResNet: minutes on a CPU, and it overfits without label noise.

    So few images are overfitted even at the high learning rate, so the first decay comes early, at epoch 8: then
    robust test accuracy peaks after the decay and falls, as it does at full scale.
    """
    return {
        "name": name,
        "epochs": 50,
        "batch_size": 128,
        "data": {"name": "cifar10", "n_train": 2000, "n_test": 1000, "augment": ["flip"]},
        "model": {"name": "preact-resnet18", "width": 16, "blocks": [1, 1, 1, 1], "stem_stride": 2},
        "attack": {"norm": "linf", "eps": "8/255", "step_size": "2/255", "n_steps": 5},
        "optimizer": {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
        "schedule": {"name": "piecewise", "milestones": [8, 40]},
        "evaluation": {"every": 2, "n_steps": 20, "n_train": 500, "n_test": 1000},
        "probes": {
            "every": 5,
            "metrics": ALL_PROBES,
            "n": 500,
            "options": {"hessian": {"n": 128, "max_probes": 10}},
        },
        **parts,
    }


def cifar10_small_hard() -> dict[str, Any]:
    """Hard labels on 2,000 CIFAR-10 images."""
    return cifar10_small("cifar10-small-hard")


def cifar10_small_sglr() -> dict[str, Any]:
    """SGLR on 2,000 CIFAR-10 images: the averaged prediction as target from the start, T = 1."""
    labels = {"name": "sglr", "preset": "authors-code", "start_epoch": 0, "clean_forward": "frozen"}
    return cifar10_small("cifar10-small-sglr", labels=labels)


def paper_cifar10(name: str, **parts: Any) -> dict[str, Any]:
    """The recipe of SGLR (2024) and Rice et al. (2020): ResNet-18, PGD-10, 200 epochs, decays at 100 and 150."""
    return {
        "name": name,
        "epochs": 200,
        "batch_size": 128,
        "data": {"name": "cifar10", "augment": ["crop", "flip"]},
        "model": {"name": "resnet18"},
        "attack": {"norm": "linf", "eps": "8/255", "step_size": "2/255", "n_steps": 10},
        "optimizer": {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
        "schedule": {"name": "piecewise", "milestones": [100, 150]},
        "evaluation": {"every": 1, "n_steps": 20, "n_train": 1000},
        "probes": {"every": 5, "metrics": ALL_PROBES, "n": 1000},
        **parts,
    }


def paper_cifar10_hard() -> dict[str, Any]:
    """The paper's baseline: PGD adversarial training with hard labels."""
    return paper_cifar10("paper-cifar10-hard")


def paper_cifar10_smooth() -> dict[str, Any]:
    """The paper's label smoothing, r = 0.2."""
    return paper_cifar10("paper-cifar10-smooth", labels={"name": "smooth", "r": 0.2})


def paper_cifar10_sglr() -> dict[str, Any]:
    """The paper's method with the constants of its text."""
    return paper_cifar10("paper-cifar10-sglr", labels={"name": "sglr", "preset": "paper"})


RECIPES: dict[str, Callable[[], dict[str, Any]]] = {
    "digits-standard": digits_standard,
    "digits-hard": digits_hard,
    "digits-smooth": digits_smooth,
    "digits-sglr": digits_sglr,
    "digits-noise-hard": digits_noise_hard,
    "digits-noise-smooth": digits_noise_smooth,
    "digits-noise-sglr": digits_noise_sglr,
    "cifar10-small-hard": cifar10_small_hard,
    "cifar10-small-sglr": cifar10_small_sglr,
    "paper-cifar10-hard": paper_cifar10_hard,
    "paper-cifar10-smooth": paper_cifar10_smooth,
    "paper-cifar10-sglr": paper_cifar10_sglr,
}


def recipe(name: str) -> RunConfig:
    """The configuration of a recipe.

    Raises:
        UnknownNameError: no such recipe; the message lists the nearest.
    """
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)
    return parse_config(RECIPES[name](), f"recipe {name}")
