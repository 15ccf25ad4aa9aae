"""Clean and robust accuracy during training."""

from __future__ import annotations

import math

from torch.nn import functional

from overfit_lab.config import EvaluationConfig
from overfit_lab.models.remembered import nothing_remembered
from overfit_lab.probes.base import N_TRIED, refusal, trial_of
from overfit_lab.probes.snapshot import Snapshot, View
from overfit_lab.processes.world import ALONE, World
from overfit_lab.types import Value

SUFFIX = {"clean": "clean", "adversarial": "adv", "noisy": "noisy"}


def evaluate(snapshot: Snapshot, config: EvaluationConfig, world: World = ALONE) -> list[Value]:
    """Accuracy and mean cross entropy, clean, attacked, and noisy where asked for, on a fixed subset of each split.

    Accuracies are fractions in [0, 1] against the given labels, with the binomial standard error of the subset.

    Cost: n forward passes, and n times steps times restarts forward and backward passes for the attack; the images
    and logits stay in the snapshot for the probes. Several processes share out the making of images.
    """
    views = evaluated(snapshot, config)
    snapshot.make_together(views, world)
    return [value for view in views for value in accuracy_and_loss(snapshot.view(*view))]


def try_to_evaluate(snapshot: Snapshot, config: EvaluationConfig) -> None:
    """Refuse an evaluation that cannot be made, by making it on a few samples; nothing is kept of it.

    Raises:
        ProbeError: in one line, what is amiss.
    """
    tried = trial_of(snapshot)
    few = config.model_copy(update={"n_train": N_TRIED, "n_val": N_TRIED, "n_test": N_TRIED})
    with nothing_remembered(snapshot.model):
        for view in evaluated(tried, few):
            try:
                accuracy_and_loss(tried.view(*view))
            except Exception as error:
                remedy = "" if view[1] == "clean" else "give another attack, or none"
                raise refusal("evaluation", error, remedy) from error


def evaluated(snapshot: Snapshot, config: EvaluationConfig) -> list[tuple[str, str, int | None]]:
    """What an evaluation looks at: split, inputs and number of samples."""
    sizes = {"train": config.n_train, "val": config.n_val, "test": config.n_test}
    attacks = {"clean": True, "adversarial": snapshot.attack, "noisy": snapshot.corruption}
    kinds = [inputs for inputs, attack in attacks.items() if attack is not None]
    return [(split, inputs, n) for split, n in sizes.items() if snapshot.has_split(split) for inputs in kinds]


def accuracy_and_loss(view: View) -> list[Value]:
    """``acc_clean`` and ``loss_clean``, or ``_adv`` or ``_noisy``, of one view, with standard errors."""
    n = len(view)
    accuracy = (view.logits.argmax(1) == view.y).double().mean().item()
    losses = functional.cross_entropy(view.logits.double(), view.y, reduction="none")
    spread = losses.std().item() / math.sqrt(n) if n > 1 else None
    suffix = SUFFIX[view.inputs]
    return [
        view.value(f"acc_{suffix}", accuracy, stderr=math.sqrt(accuracy * (1 - accuracy) / n)),
        view.value(f"loss_{suffix}", losses.mean().item(), stderr=spread),
    ]


def find_value(values: list[Value], field: str, split: str) -> float | None:
    """The number of one field on one split, where it is among the values."""
    for value in values:
        if value.field == field and value.split == split:
            return value.value
    return None
