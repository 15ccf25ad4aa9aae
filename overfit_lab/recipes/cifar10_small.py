"""2,000 CIFAR-10 images: minutes on a CPU, and robust overfitting without label noise."""

from __future__ import annotations

from typing import Any

from overfit_lab.recipes.book import Recipe
from overfit_lab.recipes.methods import METHODS, combined
from overfit_lab.recipes.paper import ALL_PROBES


def cifar10_small(name: str, **parts: Any) -> dict[str, Any]:
    """2,000 CIFAR-10 images and a narrow PreAct-ResNet: minutes on a CPU, and it overfits without label noise.

    So few images are overfitted even at the high learning rate, so the first decay comes early, at epoch 8: then
    robust test accuracy peaks after the decay and falls, as it does at full scale. Probes run at every third
    evaluation, whose attacked images they share.
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
            "every": 6,
            "metrics": ALL_PROBES,
            "n": 500,
            "options": {"hessian": {"n": 128, "max_probes": 10}},
        },
        **parts,
    }


SGLR = {"name": "sglr", "preset": "authors-code", "start_epoch": 0, "clean_forward": "frozen"}
"""The averaged prediction as target from the start, T = 1."""


def _recipes() -> dict[str, Recipe]:
    found = {}
    for method, (parts, says) in METHODS.items():
        name = f"cifar10-small-{method}"
        own = {"labels": SGLR} if method == "sglr" else parts
        found[name] = Recipe(combined(cifar10_small(name), own), f"2,000 CIFAR-10 images: {says}.")
    return found


REGISTER = _recipes()
