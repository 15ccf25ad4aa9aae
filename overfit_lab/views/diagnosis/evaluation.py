"""Whether the robust accuracies can be trusted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from overfit_lab.errors import RunFolderError
from overfit_lab.records.naming import attack_title, evaluation_attack
from overfit_lab.records.reader import Run
from overfit_lab.records.summary import best_epoch
from overfit_lab.views.diagnosis.finding import Finding, Question, Subject, Verdict
from overfit_lab.views.diagnosis.readings import inputs_of, is_monitored
from overfit_lab.views.diagnosis.words import Numbers

MOST_LOWER = 0.10
"""AutoAttack may find so much less robust accuracy than the run's own attack; 3 to 7 points are usual for PGD-20."""
LEAST_LEFT = 0.75
"""Share of the run's own robust accuracy that AutoAttack leaves at least; .85 to .95 is usual for PGD-20."""
CLEAR = 1.96
"""Standard errors that such a share must be clear of."""
MOST_ERROR = 0.03
"""Standard error of an accuracy by the draw of test samples, above which they are too few."""
TRAINED = ("evaluation", "acc_adv", "test", "adversarial")
AUTOATTACK = "acc_adv/autoattack"
CHECK = "overfit-lab check RUN"
ATTACK = "overfit-lab evaluate RUN --attack autoattack --checkpoint best,final"
MODEL = "WEIGHTS --model PACKAGE.MODULE:CLASS --data DATA"
"""In place of a run, where another loop trained it and kept its own weights, or a file was imported."""


def find(subject: Subject, before: Sequence[Finding]) -> Finding | None:
    """Yes with AutoAttack near the run's own attack and checks that found nothing; no where one speaks against it."""
    runs = [run for run in subject.runs if inputs_of(run) == "adversarial"]
    imported = [run for run in subject.runs if _checked(run) is not None or _autoattacked(run) is not None]
    if not runs and not imported:
        return _without_attack(subject)
    runs = runs or imported
    numbers = Numbers()
    parts = [_trained(runs, numbers)]
    lower, few = _autoattack(runs, numbers, parts), _few(runs)
    suspicious = _checks(runs, numbers, parts)
    verdict: Verdict = "not enough evidence" if lower is None or suspicious is None or few else "yes"
    if suspicious or (lower is not None and (lower[0] > MOST_LOWER or lower[1] < LEAST_LEFT)):
        verdict = "no"
    attack, check = ATTACK, CHECK
    if any(is_monitored(run) or run.is_imported for run in runs):
        attack, check = f"overfit-lab evaluate {MODEL} --attack autoattack", f"overfit-lab check {MODEL}"
    reasons = [f"run AutoAttack: `{attack}`"] if lower is None else []
    reasons += [f"look for masked gradients: `{check}`"] if suspicious is None else []
    reasons += ["evaluate on more test samples: `--set evaluation.n_test=null`"] if few else []
    if verdict == "no":
        reasons = [f"quote AutoAttack or the worst case of the checks, not the run's own attack: `{attack}`"]
    head = {
        "yes": "Nothing that was tried speaks against the evaluation",
        "no": "The robust accuracy is overstated, or may be",
    }.get(verdict, "Not enough evidence that the robust accuracy can be taken as it is")
    advice = "; ".join(reasons)
    checked = [run for run in runs if _checked(run) is not None]
    return Finding(
        "evaluation",
        subject.name,
        verdict,
        f"{head}: {'; '.join(parts)}.",
        numbers,
        _figure(runs),
        tuple(run.name for run in checked or runs),
        f"{advice[:1].upper()}{advice[1:]}." if advice else "",
    )


def _without_attack(subject: Subject) -> Finding | None:
    """Nothing is to be trusted where clean accuracy alone was measured."""
    if any(len(run.series("evaluation", "acc_clean", "test", "clean")) for run in subject.runs):
        return None
    text, advice = "Not enough evidence: no evaluation on test was recorded.", f"Evaluate under attack: `{ATTACK}`."
    return Finding("evaluation", subject.name, "not enough evidence", text, advice=advice)


def _trained(runs: Sequence[Run], numbers: Numbers) -> str:
    """Which attack on how many samples, and what chose the best checkpoint."""
    rows = _final_rows(runs)
    if not rows:
        return "no robust accuracy was recorded while training"
    chosen = sorted({by for run in runs if (by := _chosen_on(run))})
    choice = f"; the best checkpoint is chosen on {' / '.join(chosen)}" if chosen else ""
    choice += ", which flatters it" if "test" in chosen else ""
    attack = attack_title(evaluation_attack(runs[0].config))
    return f"robust accuracy is under {article(attack)} on {_samples(rows, numbers)}{choice}"


def _samples(rows: Sequence[pd.Series], numbers: Numbers) -> str:
    """How many test samples, with the standard error that they leave."""
    known = [row for row in rows if not pd.isna(row["n"])]
    if not known:
        return "test samples whose number is not known"
    n, error = min(int(row["n"]) for row in known), max(_error(row["value"], row["n"]) for row in known)
    return f"{numbers.plain('n_test', n)} test samples (standard error {numbers.points('stderr', error)} points)"


def article(attack: str) -> str:
    """The name of an attack in a sentence: ``PGD-20``, ``an unknown attack``."""
    return f"an {attack}" if attack.startswith("unknown") else attack


def _autoattack(runs: Sequence[Run], numbers: Numbers, parts: list[str]) -> tuple[float, float] | None:
    """How much lower AutoAttack is than the run's own attack at the same epoch, and what share of it is left.

    None where it was not run.
    """
    readings = [pair for run in runs if (pair := _autoattacked(run)) is not None]
    if not readings:
        parts.append(f"AutoAttack was not run on the {_checkpoint(runs)}")
        return None
    under = float(np.mean([pair[0] for pair in readings]))
    n = min(pair[2] for pair in readings)
    text = (
        f"AutoAttack leaves {numbers.percent('autoattack', under)} of {numbers.plain('n_autoattack', n)} at the "
        f"{_checkpoint(runs)}{_of(readings, runs, 'attacked', numbers)}"
    )
    beside = [(pair[0], pair[1]) for pair in readings if pair[1] is not None]
    own = float(np.mean([pair[1] for pair in beside])) if beside else under
    left = float(np.mean([pair[0] for pair in beside])) if beside else under
    if beside:
        attack = attack_title(evaluation_attack(runs[0].config))
        sizes = [int(row["n"]) for row in _final_rows(runs) if np.isfinite(row["n"])]
        n_own = f" of {numbers.plain('n_own', min(sizes))}" if sizes else ""
        text += (
            f", {numbers.points('lower', own - left)} points less than the {numbers.percent('own', own)} that "
            f"{article(attack)} leaves there{n_own}"
        )
    parts.append(text)
    error = max((_error(value, pair[2]) for pair in readings for value in pair[:2] if value is not None), default=0.0)
    beyond_noise = own - left > CLEAR * np.sqrt(2) * error
    return own - left, left / own if beyond_noise else 1.0


def _checkpoint(runs: Sequence[Run]) -> str:
    """What was attacked last."""
    return "imported weights" if all(run.is_imported for run in runs) else "final checkpoint"


def _of(part: Sequence[object], runs: Sequence[Run], name: str, numbers: Numbers) -> str:
    """`` in 2 of 3 seeds``; nothing for one run."""
    if len(runs) == 1:
        return ""
    return f" in {numbers.plain(f'n_{name}', len(part))} of {numbers.plain('n_seeds', len(runs))} seeds"


def _autoattacked(run: Run) -> tuple[float, float | None, int] | None:
    """Accuracy under AutoAttack at the last epoch that has it, under the own attack there, and samples; final alone."""
    series = run.series("robustness", AUTOATTACK, "test", "adversarial")
    trained = run.series(*TRAINED)
    if series.empty:
        return None
    row = series.iloc[-1]
    if len(trained) and row["epoch"] < trained["epoch"].iloc[-1]:
        return None
    same = trained.loc[trained["epoch"] == row["epoch"], "value"]
    return float(row["value"]), float(same.iloc[0]) if len(same) else None, int(row["n"])


def _checks(runs: Sequence[Run], numbers: Numbers, parts: list[str]) -> int | None:
    """Number of suspicious checks over the checked runs; None if no run was checked."""
    counts = [checked for run in runs if (checked := _checked(run)) is not None]
    if not counts:
        parts.append("it was not checked for masked gradients")
        return None
    suspicious, n = int(sum(part[0] for part in counts)), sum(len(part[1]) for part in counts)
    names = sorted({name for part in counts for name in part[1]})
    parts.append(
        f"{numbers.plain('suspicious', suspicious)} of {numbers.plain('n_checks', n)} checks for masked gradients "
        f"({', '.join(names)}) {'is' if suspicious == 1 else 'are'} suspicious"
        f"{_of(counts, runs, 'checked', numbers)}"
    )
    return suspicious


def _checked(run: Run) -> tuple[int, tuple[str, ...]] | None:
    """Suspicious checks and the names of those run, at the last epoch that was checked."""
    series = run.series("masking", "suspicious", "test", "adversarial")
    if series.empty:
        return None
    frame = run.records
    checks = (frame["probe"] == "masking") & (frame["epoch"] == series["epoch"].iloc[-1])
    fields = frame.loc[checks & frame["field"].str.startswith("evidence/"), "field"].unique()
    return int(series["value"].iloc[-1]), tuple(field.removeprefix("evidence/") for field in fields)


def _few(runs: Sequence[Run]) -> bool:
    known = [row for row in _final_rows(runs) if not pd.isna(row["n"])]
    return any(_error(row["value"], row["n"]) > MOST_ERROR for row in known)


def _final_rows(runs: Sequence[Run]) -> list[pd.Series]:
    """The last reading of each run's own robust test accuracy."""
    return [series.iloc[-1] for run in runs if len(series := run.series(*TRAINED))]


def _error(share: float, n: float) -> float:
    """Binomial standard error, with one sample of either kind added so that none is 0."""
    p = (share * n + 1) / (n + 2)
    return float(np.sqrt(p * (1 - p) / (n + 2)))


def _chosen_on(run: Run) -> str:
    try:
        return best_epoch(run).split
    except RunFolderError:
        return ""


def _figure(runs: Sequence[Run]) -> str:
    return "masking" if any(run.epochs_with_arrays("masking") for run in runs) else "overview"


REGISTER = {"evaluation": Question(find, place=70)}
