"""Tiny ImageNet and ImageNet: sets that are streamed from their files where memory is short of them."""

from __future__ import annotations

from typing import Any

from overfit_lab.config.recipes.book import Recipe
from overfit_lab.config.recipes.methods import METHODS, combined
from overfit_lab.config.recipes.paper import ALL_PROBES

LARGE = ("hard", "smooth", "sglr", "te", "trades", "trades-sglr", "awp", "swa", "ema")
"""Methods of the ImageNet recipes: those without a second network."""


def tiny_imagenet(name: str, method: str, **parts: Any) -> dict[str, Any]:
    """PreAct-ResNet-18 at 64x64, l_inf 8/255, PGD-10; half of the 200 epochs on CIFAR, decays at the same shares.

    The images in memory take 1.3 GB; crops are padded by 8, twice as much as at 32x32.
    """
    content = {
        "name": name,
        "epochs": 100,
        "batch_size": 128,
        "data": {"name": "tiny-imagenet", "augment": ["crop", "flip"], "crop_padding": 8},
        "model": {"name": "preact-resnet18"},
        "attack": {"norm": "linf", "eps": "8/255", "step_size": "2/255", "n_steps": 10},
        "optimizer": {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
        "schedule": {"name": "piecewise", "milestones": [50, 75]},
        "evaluation": {"every": 1, "n_steps": 20, "n_train": 1000, "n_test": 2000},
        "probes": {"every": 5, "metrics": ALL_PROBES, "n": 1000},
        **parts,
    }
    return combined(content, METHODS[method][0])


def imagenet(name: str, method: str, **parts: Any) -> dict[str, Any]:
    """ResNet-50 at 224x224, l_inf 4/255, PGD-3 with steps of 2/3 eps, 90 epochs (Salman et al. 2020, arXiv 2007.08489).

    Batch 512, learning rate 0.1 times 0.1 every 30 epochs, weight decay 1e-4. Training images are resized crops,
    others the centre 224 of a shorter side of 256. SGLR's rows (1.28 million x 1,000) are on disk. A checkpoint to
    resume from comes every 500 of the 2,502 steps of an epoch.
    """
    content = {
        "name": name,
        "epochs": 90,
        "batch_size": 512,
        "data": {
            "name": "imagenet",
            "augment": ["resized-crop", "flip"],
            "image_size": 224,
            "shorter_side": 256,
        },
        "model": {"name": "torchvision:resnet50"},
        "attack": {"norm": "linf", "eps": "4/255", "step_size": "8/765", "n_steps": 3},
        "optimizer": {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4},
        "schedule": {"name": "piecewise", "milestones": [30, 60]},
        "evaluation": {"every": 5, "n_steps": 20, "n_train": 1000, "n_test": 2000, "chunk": 128},
        "probes": {"every": 15, "metrics": ["gradient-norm", "iiw", "calibration", "confidence"], "n": 1000},
        "checkpoint": {"every": 15, "steps": 500},
        **parts,
    }
    return combined(content, METHODS[method][0])


def _recipes() -> dict[str, Recipe]:
    recipes = {}
    for make, prefix, methods, setting in (
        (tiny_imagenet, "tiny-imagenet", METHODS, "Tiny ImageNet, PreAct-ResNet-18"),
        (imagenet, "imagenet", LARGE, "ImageNet, ResNet-50"),
    ):
        for method in methods:
            name = f"{prefix}-{method}"
            recipes[name] = Recipe(make(name, method), f"{setting}: {METHODS[method][1]}.")
    return recipes


REGISTER = _recipes()
