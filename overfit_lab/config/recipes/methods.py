"""What each method of the literature changes in plain PGD adversarial training, at whatever scale.

A method is parts of a configuration: objective, label mode, regularizers. Its constants are those of its authors; a
scale that wants others says so in its own file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

METHODS: dict[str, tuple[dict[str, Any], str]] = {
    "hard": ({}, "PGD adversarial training with hard labels"),
    "smooth": ({"labels": {"name": "smooth", "r": 0.2}}, "label smoothing"),
    "sglr": ({"labels": {"name": "sglr", "preset": "paper"}}, "SGLR with the constants of the paper's text"),
    "te": ({"labels": {"name": "te"}}, "temporal ensembling"),
    "kd": ({"labels": {"name": "kd", "teacher": "train:pgd-at"}}, "distillation from a model trained first"),
    "als": ({"labels": {"name": "als"}}, "adversarial label smoothing"),
    "boltzmann": ({"labels": {"name": "boltzmann"}}, "Boltzmann label smoothing"),
    "second-best": ({"labels": {"name": "second-best"}}, "second-best label smoothing"),
    "trades": ({"objective": {"name": "trades"}}, "TRADES"),
    "trades-sglr": (
        {"objective": {"name": "trades"}, "labels": {"name": "sglr", "preset": "paper"}},
        "TRADES with SGLR",
    ),
    "mart": ({"objective": {"name": "mart"}}, "MART"),
    "sce": ({"objective": {"name": "sce"}}, "symmetric cross entropy"),
    "logit-squeezing": ({"objective": {"name": "logit-squeezing"}}, "logit squeezing on noisy images, no attack"),
    "clp": ({"objective": {"name": "clp"}}, "clean logit pairing on noisy images, no attack"),
    "alp": ({"objective": {"name": "alp"}}, "adversarial logit pairing"),
    "awp": ({"regularizers": ["awp"]}, "adversarial weight perturbation"),
    "swa": ({"regularizers": ["swa"]}, "stochastic weight averaging from the first decay on"),
    "ema": ({"regularizers": ["ema"]}, "exponential moving average of the weights"),
    "kd-at": ({"regularizers": ["kd-at"]}, "self-distillation from a standard and a robust model trained first"),
    "kd-swa": ({"regularizers": ["kd-swa"]}, "the same with stochastic weight averaging"),
    "mixup": ({"regularizers": ["mixup"]}, "mixup"),
    "cutout": ({"regularizers": ["cutout"]}, "cutout"),
    "gaussian-noise": ({"regularizers": ["gaussian-noise"]}, "normal noise on the images before the attack"),
    "early-stopping": (
        {"regularizers": ["early-stopping"], "data": {"n_val": 1000}},
        "early stopping by robust accuracy on 1,000 validation images",
    ),
    "l1": ({"regularizers": ["l1"]}, "a penalty on the sum of absolute weights"),
    "l2": ({"regularizers": ["l2"]}, "a penalty on the sum of squared weights"),
}


def combined(content: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with a method's parts in it; settings of the data are added to those that are there."""
    data = {**content["data"], **parts.get("data", {})}
    return {**content, **parts, "data": data}
