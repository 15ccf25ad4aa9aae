"""The paper's scale: CIFAR-10 and CIFAR-100, 200 epochs, for a GPU (SGLR, Yu et al. 2024, Tabs. 2, 3 and B.4)."""

from __future__ import annotations

from typing import Any

from overfit_lab.config.recipes.book import Recipe, Study
from overfit_lab.config.recipes.methods import METHODS, combined

ALL_PROBES = ["gradient-norm", "iiw", "calibration", "confidence", "hessian", "features", "memorisation"]
TABLE_2 = ("hard", "smooth", "te", "sglr", "awp", "kd-at", "kd-swa")
TABLE_3 = ("hard", "sglr", "trades", "trades-sglr")
TABLE_B4 = ("hard", "sglr")
R, T = "labels.r=0,0.2,0.4,0.6,0.8", "labels.temperature=1,1.5,2"


def at_scale(name: str, method: str, **parts: Any) -> dict[str, Any]:
    """ResNet-18, PGD-10, decays at 100 and 150 of 200 (SGLR 2024; Rice et al. 2020), with a method."""
    content = {
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
    return combined(content, METHODS[method][0])


def _recipes() -> dict[str, Recipe]:
    cifar100 = {"data": {"name": "cifar100", "augment": ["crop", "flip"]}}
    wide = {"model": {"name": "wrn-34-10"}}
    recipes = {}
    for methods, name, parts, setting in (
        (dict.fromkeys((*TABLE_2, *METHODS)), "paper-cifar10", {}, "CIFAR-10, ResNet-18"),
        (dict.fromkeys(TABLE_3), "paper-cifar100", cifar100, "CIFAR-100, ResNet-18"),
        (dict.fromkeys(TABLE_B4), "paper-wrn", wide, "CIFAR-10, WRN-34-10"),
    ):
        for method in methods:
            full = f"{name}-{method}"
            recipes[full] = Recipe(
                at_scale(full, method, **parts), f"{setting}, the paper's recipe: {METHODS[method][1]}."
            )
    return recipes


REGISTER = _recipes()

GRIDS = {
    "paper-table4": Study("paper-cifar10-sglr", (R, T), "Tab. 4: SGLR over the label share r and the temperature T."),
    "paper-noise": Study(
        "paper-cifar10-hard",
        (
            "data.noise={kind: none},{kind: symmetric, rate: 0.2},{kind: symmetric, rate: 0.4},"
            "{kind: symmetric, rate: 0.6},{kind: symmetric, rate: 0.8}",
            "labels=hard,{name: smooth, r: 0.2},{name: sglr, preset: paper}",
        ),
        "Tab. B.2, Figs. 4 and 5: three label modes over rates of symmetric noise, standard training.",
        sets=("objective=standard",),
    ),
    "paper-eps": Study(
        "paper-cifar10-hard", ("attack.eps=2/255,4/255,8/255,12/255",), "B.5: robust overfitting over eps."
    ),
    "paper-corruption": Study(
        "paper-cifar10-hard",
        ("attack.name=pgd,gaussian-noise,random-pixels",),
        "B.5: noise of the same size in place of the adversarial perturbation.",
        sets=("evaluation.corruption=gaussian-noise",),
    ),
    "paper-schedules": Study(
        "paper-cifar10-hard",
        ("schedule=piecewise,cosine,linear,cyclic,one-drop,multi-decay",),
        "B.7 and Rice et al. (2020): robust overfitting under six schedules.",
    ),
}
