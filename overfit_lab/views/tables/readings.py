"""Reads a run's numbers at its best and final epoch from the records."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from overfit_lab.errors import ConfigError, RunFolderError
from overfit_lab.records.naming import ATTACKS, PGD, attack_title, evaluation_attack
from overfit_lab.records.reader import Run
from overfit_lab.records.summary import RAW, best_epoch, final_epoch, probe_name

RUN_ATTACK = "own"
"""Stands for the attack that a run was evaluated with while training."""
LATER = ("robustness", "calibration")
"""Probes whose records an imported checkpoint may have, although it was never evaluated while training."""


@dataclass(frozen=True)
class Epochs:
    """The epochs at which a row's numbers are read.

    Args:
        best: the best epoch; None where weights were imported, so that there is but one.
        final: the last epoch evaluated.
        chosen_on: what chose the best: "acc_adv on test"; "" where nothing did.
    """

    best: int | None
    final: int
    chosen_on: str


@dataclass(frozen=True)
class Reading:
    """A number and how many samples it is of, None where that is not known; None and 0 where it was not measured."""

    value: float | None = None
    n: int | None = 0

    @property
    def percent(self) -> float | None:
        """The number times 100."""
        return None if self.value is None else 100 * self.value


def has_evaluation(run: Run) -> bool:
    """Whether the run was evaluated while training."""
    return bool((run.records["probe"] == "evaluation").any())


def evaluated_under_attack(run: Run) -> bool:
    """Whether the evaluation while training had an attack; PGD with no steps is none."""
    return has_evaluation(run) and evaluation_attack(run.config) != ""


def epochs_of(run: Run, weights: str = RAW, by: str = "auto") -> Epochs:
    """Best and final epoch of some weights; see :func:`overfit_lab.records.summary.best_epoch`.

    Raises:
        RunFolderError: nothing was measured, or nothing on the split that is to choose.
    """
    if has_evaluation(run):
        if not len(run.series(probe_name("evaluation", weights), "acc_clean")):
            return Epochs(None, final_epoch(run), "")
        best = best_epoch(run, weights, by)
        return Epochs(best.epoch, final_epoch(run), best.chosen_on)
    measured = run.records.loc[run.records["probe"].isin([probe_name(probe, weights) for probe in LATER]), "epoch"]
    if measured.empty:
        raise RunFolderError(
            f"{run.folder}: holds no evaluation; `overfit-lab evaluate RUN` measures one from checkpoints"
        )
    return Epochs(None, int(measured.max()), "")


def read(run: Run, epoch: int | None, weights: str, probe: str, field: str, inputs: str) -> Reading:
    """One number on the test split at one epoch."""
    if epoch is None:
        return Reading()
    part = run.series(probe_name(probe, weights), field, "test", inputs)
    rows = part[part["epoch"] == epoch]
    if not len(rows):
        return Reading()
    n = rows["n"].iloc[0]
    return Reading(float(rows["value"].iloc[0]), None if pd.isna(n) else int(n))


def read_natural(run: Run, epoch: int | None, weights: str) -> Reading:
    """Clean test accuracy: that of the evaluation while training, else that measured beside attacks later."""
    trained = read(run, epoch, weights, "evaluation", "acc_clean", "clean")
    return trained if trained.value is not None else read(run, epoch, weights, "robustness", "acc_clean", "clean")


def read_attack(run: Run, epoch: int | None, weights: str, attack: str) -> Reading:
    """Test accuracy under an attack: the evaluation's where the attack is its own, else that measured later."""
    name = own_attack(run) if attack == RUN_ATTACK else attack
    if name == own_attack(run) and evaluated_under_attack(run):
        reading = read(run, epoch, weights, "evaluation", "acc_adv", "adversarial")
        if reading.value is not None:
            return reading
    return read(run, epoch, weights, "robustness", f"acc_adv/{name}", "adversarial")


def own_attack(run: Run) -> str:
    """The attack of the run's evaluation as the records name attacks.

    PGD-20 for imported weights and for runs that were evaluated without an attack: that is what they lack.
    """
    return evaluation_attack(run.config) if evaluated_under_attack(run) else "pgd-20"


def measured_attacks(run: Run) -> set[str]:
    """The attacks that some weights of the run were evaluated with later."""
    pairs = zip(run.records["probe"], run.records["field"], strict=True)
    fields = {str(field) for probe, field in pairs if str(probe).partition("@")[0] == "robustness"}
    return {field.removeprefix("acc_adv/") for field in fields if field.startswith("acc_adv/")}


def attack_titles(attack: str, runs: Sequence[Run]) -> list[str]:
    """An attack as papers print it; the runs' own attacks, which may be several, each once."""
    return sorted({attack_title(own_attack(run) if attack == RUN_ATTACK else attack) for run in runs})


def check_attacks(attacks: Sequence[str], runs: Sequence[Run]) -> None:
    """Refuse names that are neither attacks of the command ``evaluate`` nor in any run's records.

    Raises:
        ConfigError: an unknown attack, or one that is given twice.
    """
    measured = {own_attack(run) for run in runs} | {name for run in runs for name in measured_attacks(run)}
    for attack in attacks:
        known = attack in ATTACKS or attack in measured or PGD.fullmatch(attack) or re.fullmatch("transfer-.+", attack)
        if not known:
            names = ", ".join(sorted({*ATTACKS, *measured}))
            raise ConfigError(
                f"unknown attack {attack!r}; known: {names}, pgd-STEPS, pgd-STEPSxRESTARTS, transfer-NAME"
            )
        if attacks.count(attack) > 1:
            raise ConfigError(f"attack {attack!r} is given {attacks.count(attack)} times; name it once")
