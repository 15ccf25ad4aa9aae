"""What a run is called: its method, its data, its model and its attack, in the words of the field."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from overfit_lab.config import RunConfig
from overfit_lab.config.upgrade import later_options
from overfit_lab.records.layout import IMPORTED

OBJECTIVES = {
    "standard": "standard training",
    "pgd-at": "PGD-AT",
    "trades": "TRADES",
    "mart": "MART",
    "sce": "SCE",
    "clp": "CLP",
    "alp": "ALP",
}
LABELS = {
    "smooth": "LS",
    "sglr": "SGLR",
    "te": "TE",
    "kd": "KD",
    "als": "ALS",
    "boltzmann": "Boltzmann LS",
    "second-best": "second-best LS",
}
REGULARIZERS = {"awp": "AWP", "swa": "SWA", "ema": "EMA", "kd-at": "KD-AT", "kd-swa": "KD-SWA"}
DATA = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "cifar10-jpeg": "CIFAR-10 (JPEG q75)"}
FULL_SIZES = {
    "cifar10": {"train": 50_000, "test": 10_000},
    "cifar10-jpeg": {"train": 50_000, "test": 10_000},
    "cifar100": {"train": 50_000, "test": 10_000},
    "svhn": {"train": 73_257, "test": 26_032},
    "digits": {"all": 1_797},
}
"""Images in each part of a public data set, as published; "all" where it comes in one piece."""
MODELS = {
    "resnet18": "ResNet-18",
    "resnet34": "ResNet-34",
    "resnet50": "ResNet-50",
    "preact-resnet18": "PreAct-ResNet-18",
    "wrn-28-10": "WRN-28-10",
    "wrn-34-10": "WRN-34-10",
    "mlp": "MLP",
    "small-cnn": "small CNN",
}
UNKNOWN_ATTACK = "unknown-attack"
"""Stands for the attack of the evaluation where another loop's log does not say it."""
UNKNOWN = "unknown method"
"""Title of the method of a monitored run that does not say it."""
NORMS = {"linf": "l_inf", "l2": "l_2"}
ATTACKS = {
    "autoattack": "AutoAttack",
    "square": "Square",
    "apgd-ce": "APGD-CE",
    "apgd-t": "APGD-T",
    "fab-t": "FAB-T",
    "unknown-attack": "unknown attack",
}
PGD = re.compile(r"pgd-(\d+)(?:x(\d+))?")
"""How records name PGD: steps, and restarts where there are several."""


def method_key(config: RunConfig) -> str:
    """The method for comparison with other tables: objective, label mode and regularizers joined by "+".

    Hard labels are left out, and so is PGD-AT where regularizers alone are added to it: ``pgd-at``, ``pgd-at+sglr``,
    ``trades+sglr``, ``awp``, ``kd-swa``. Constants of a method are not part of its key. A monitored run,
    whose method is in its user's words, has none: "".
    """
    if config.is_monitored:
        return ""
    labels = [] if config.labels.name == "hard" else [config.labels.name]
    added = [part.name for part in config.regularizers]
    if config.objective.name == "pgd-at" and added and not labels:
        return "+".join(added)
    return "+".join([config.objective.name, *labels, *added])


def method_title(config: RunConfig) -> str:
    """The method as papers print it: ``PGD-AT``, ``PGD-AT + LS``, ``TRADES + SGLR``, ``PGD-AT + AWP``.

    That of a monitored run is in its user's words; where they say none, :data:`UNKNOWN`.
    """
    if config.is_monitored:
        return config.monitored.method or UNKNOWN
    objective = OBJECTIVES.get(config.objective.name, config.objective.name)
    labels = [] if config.labels.name == "hard" else [LABELS.get(config.labels.name, config.labels.name)]
    added = [REGULARIZERS.get(part.name, part.name) for part in config.regularizers]
    return " + ".join([objective, *labels, *added])


def data_title(config: RunConfig) -> str:
    """The data set: a public one by its usual name, a folder by its last part."""
    if not config.knows("data.name"):
        return "data not known"
    source = _source(config)
    return DATA.get(source, source)


def full_sizes(config: RunConfig) -> Mapping[str, int]:
    """Images in each part of the whole data set, "all" where it comes in one piece; empty where that is not known."""
    return FULL_SIZES.get(_source(config), {})


def _source(config: RunConfig) -> str:
    name = config.data.name
    return name.partition(":")[2].rstrip("/").split("/")[-1] or name


def model_title(config: RunConfig) -> str:
    """The architecture with what was set of it: ``PreAct-ResNet-18 (width 16)``."""
    if not config.knows("model"):
        return "model not known"
    usual = later_options(config.model.name).items()
    options = {
        key: value for key, value in config.model.options.items() if value is not None and (key, value) not in usual
    }
    words = ", ".join(f"{key.replace('_', ' ')} {_plain(value)}" for key, value in options.items())
    title = MODELS.get(config.model.name, config.model.name)
    return f"{title} ({words})" if words else title


def evaluation_attack(config: RunConfig) -> str:
    """The attack of the evaluation in training, as records name attacks: ``pgd-20``, ``pgd-50x5``; "" for none.

    Of a log that does not say it :data:`UNKNOWN_ATTACK`.
    """
    if not config.knows("evaluation"):
        return UNKNOWN_ATTACK
    evaluation = config.evaluation
    if not evaluation.n_steps:
        return ""
    if evaluation.attack != "pgd":
        return evaluation.attack
    return f"pgd-{evaluation.n_steps}" + (f"x{evaluation.n_restarts}" if evaluation.n_restarts > 1 else "")


def attack_title(attack: str) -> str:
    """An attack as papers print it, from its name in records; a class of the user's by its name alone.

    Example:
        >>> [attack_title(name) for name in ("pgd-50x5", "autoattack", "transfer-net", "theirs.attacks:Strong")]
        ['PGD-50, 5 restarts', 'AutoAttack', 'transfer from net', 'Strong']
    """
    steps = PGD.fullmatch(attack)
    if steps:
        return f"PGD-{steps[1]}" + (f", {steps[2]} restarts" if steps[2] else "")
    if attack.startswith("transfer-"):
        return f"transfer from {attack.removeprefix('transfer-')}"
    return ATTACKS.get(attack, attack.rpartition(":")[2]) if attack else "no attack"


def threat_title(config: RunConfig) -> str:
    """The threat model: ``l_inf eps 8/255``; that of a monitor without an attack is not known."""
    if not config.knows("attack.eps"):
        return "threat model not known"
    return f"{NORMS[config.attack.norm]} eps {pixels(config.attack.eps)}"


def pixels(eps: float) -> str:
    """A pixel distance as it is usually written."""
    n = round(eps * 255)
    return f"{n}/255" if abs(n / 255 - eps) < 1e-12 and n else f"{eps:g}"


def _plain(value: object) -> str:
    return "-".join(str(part) for part in value) if isinstance(value, (list, tuple)) else str(value)


def epoch_title(epoch: int | None) -> str:
    """``epoch 5``; ``imported`` for weights that were trained elsewhere, which have none."""
    return IMPORTED if epoch is None else f"epoch {epoch}"


def epoch_number(epoch: int | None) -> str:
    """The same for a column of epochs: ``5``."""
    return IMPORTED if epoch is None else str(epoch)


def common_name(names: Sequence[str]) -> str:
    """What names of runs have in common at the beginning, without a trailing "-seed".

    Example:
        >>> common_name(["digits-hard-seed0", "digits-hard-seed1"])
        'digits-hard'
    """
    if len(names) == 1:
        return names[0]
    shortest = min(names, key=len)
    length = next((i for i, c in enumerate(shortest) if any(name[i] != c for name in names)), len(shortest))
    return shortest[:length].rstrip("-_0123456789").removesuffix("seed").rstrip("-_") or names[0]
