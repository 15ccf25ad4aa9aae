"""10,000 CIFAR-10 images and a PreAct-ResNet-18 of all its blocks: hours on one core that multiplies bfloat16."""

from __future__ import annotations

from typing import Any

from overfit_lab.config.recipes.book import Recipe
from overfit_lab.config.recipes.methods import METHODS, combined
from overfit_lab.config.recipes.paper import ALL_PROBES, TABLE_2, TABLE_3

MEDIUM = tuple(dict.fromkeys((*TABLE_2, *TABLE_3, "early-stopping")))
"""Methods of the paper's tables, and stopping early on the validation images that are here anyway."""


def cifar10_medium(name: str, **parts: Any) -> dict[str, Any]:
    """A fifth of CIFAR-10, 1,000 validation and all 10,000 test images; PreAct-ResNet-18 of half width, stride-2 stem.

    Between the 2,000 images of `cifar10-small` and the paper's 50,000: each stage has its two blocks, the attack its
    ten steps, and the decays come at a half and three quarters, as in the paper. Images are flipped and not cropped,
    as in `cifar10-small`, which leaves more to overfit in 50 epochs. Training is in bfloat16, set here
    so that all methods of a comparison have one precision. Every second epoch is evaluated on 2,000 of the test images
    (standard error 1.1 points at 50%); all 10,000 are for `overfit-lab evaluate` at the end. Probes run at every third
    evaluation, whose attacked images they share, one epoch before each decay among them.
    """
    return {
        "name": name,
        "epochs": 50,
        "batch_size": 128,
        "data": {"name": "cifar10", "n_train": 10_000, "n_val": 1000, "augment": ["flip"]},
        "model": {"name": "preact-resnet18", "width": 32, "stem_stride": 2},
        "attack": {"norm": "linf", "eps": "8/255", "step_size": "2/255", "n_steps": 10},
        "optimizer": {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
        "schedule": {"name": "piecewise", "milestones": [25, 37]},
        "evaluation": {"every": 2, "n_steps": 20, "n_train": 500, "n_val": 1000, "n_test": 2000},
        "probes": {
            "every": 6,
            "metrics": ALL_PROBES,
            "n": 500,
            "options": {"hessian": {"n": 128, "max_probes": 10}},
        },
        "compute": {"precision": "bf16"},
        **parts,
    }


def _recipes() -> dict[str, Recipe]:
    standard = ({"objective": {"name": "standard"}}, "standard training, no attack")
    methods = {method: METHODS[method] for method in MEDIUM} | {"standard": standard}
    recipes = {}
    for method, (parts, text) in methods.items():
        name = f"cifar10-medium-{method}"
        recipes[name] = Recipe(combined(cifar10_medium(name), parts), f"10,000 CIFAR-10 images: {text}.")
    return recipes


REGISTER = _recipes()
