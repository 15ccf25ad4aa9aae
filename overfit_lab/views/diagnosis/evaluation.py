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
MOST_ERROR = 0.03
"""Standard error of an accuracy by the draw of test samples, above which they are too few."""
OWN = ("evaluation", "acc_adv", "test", "adversarial")
AUTOATTACK = "acc_adv/autoattack"
CHECK = "overfit-lab check RUN"
ATTACK = "overfit-lab evaluate RUN --attack autoattack --checkpoint best,final"
MODEL = "WEIGHTS --model PACKAGE.MODULE:CLASS --data DATA"
"""In place of a run, where another loop trained it and kept its own weights."""


def find(subject: Subject, before: Sequence[Finding]) -> Finding | None:
    """Yes with AutoAttack near the run's own attack and checks that found nothing; no where one speaks against it."""
    runs = [run for run in subject.runs if inputs_of(run) == "adversarial"]
    imported = [run for run in subject.runs if _checked(run) is not None or _autoattacked(run) is not None]
    if not runs and not imported:
        return _without_attack(subject)
    runs = runs or imported
    numbers = Numbers()
    parts = [_own(runs, numbers)]
    lower, few = _autoattack(runs, numbers, parts), _few(runs)
    suspicious = _checks(runs, numbers, parts)
    verdict: Verdict = "yes"
    if lower is None or suspicious is None or few:
        verdict = "not enough evidence"
    if lower is not None and lower > MOST_LOWER:
        verdict = "no"
    if suspicious:
        verdict = "no"
    attack, check = ATTACK, CHECK
    if any(map(is_monitored, runs)):
        attack, check = f"overfit-lab evaluate {MODEL} --attack autoattack", f"overfit-lab check {MODEL}"
    reasons = [f"run AutoAttack: `{attack}`"] if lower is None else []
    reasons += [f"look for masked gradients: `{check}`"] if suspicious is None else []
    reasons += ["evaluate on more test samples: `--set evaluation.n_test=null`"] if few else []
    if verdict == "no":
        reasons = [f"quote AutoAttack or the worst case of the checks, not the run's own attack: `{attack}`"]
    head = {"yes": "The evaluation can be trusted", "no": "The evaluation cannot be trusted"}.get(
        verdict, "Not enough evidence that the evaluation can be trusted"
    )
    advice = "; ".join(reasons)
    return Finding(
        "evaluation",
        subject.name,
        verdict,
        f"{head}: {'; '.join(parts)}.",
        numbers,
        _figure(runs),
        tuple(run.name for run in runs if _checked(run) is not None) or tuple(run.name for run in runs),
        advice=f"{advice[:1].upper()}{advice[1:]}." if advice else "",
    )


def _without_attack(subject: Subject) -> Finding | None:
    """Nothing is to be trusted where clean accuracy alone was measured."""
    if not any(len(run.series("evaluation", "acc_clean", "test", "clean")) for run in subject.runs):
        text = "Not enough evidence: no evaluation on test was recorded."
        return Finding(
            "evaluation", subject.name, "not enough evidence", text, advice=f"Evaluate under attack: `{ATTACK}`."
        )
    return None


def _own(runs: Sequence[Run], numbers: Numbers) -> str:
    """Which attack on how many samples, and what chose the best checkpoint."""
    rows = _final_rows(runs)
    if not rows:
        return "no robust accuracy was recorded while training"
    n, error = min(int(row["n"]) for row in rows), max(_error(row["value"], row["n"]) for row in rows)
    chosen = sorted({by for run in runs if (by := _chosen_on(run))})
    where = f"; the best checkpoint is chosen on {' / '.join(chosen)}" if chosen else ""
    if "test" in chosen:
        where += ", which flatters it"
    attack = attack_title(evaluation_attack(runs[0].config))
    return (
        f"robust accuracy is under {attack} on {numbers.plain('n_test', n)} test samples (standard error "
        f"{numbers.points('stderr', error)} points){where}"
    )


def _autoattack(runs: Sequence[Run], numbers: Numbers, parts: list[str]) -> float | None:
    """How much lower AutoAttack is than the run's own attack at the same epoch; None where it was not run."""
    found = [pair for run in runs if (pair := _autoattacked(run)) is not None]
    if not found:
        parts.append("AutoAttack was not run on the final checkpoint")
        return None
    under = float(np.mean([pair[0] for pair in found]))
    n = min(pair[2] for pair in found)
    text = (
        f"AutoAttack leaves {numbers.percent('autoattack', under)} of {numbers.plain('n_autoattack', n)} at the final "
        f"checkpoint{_of(found, runs, 'attacked', numbers)}"
    )
    lower = [pair[1] - pair[0] for pair in found if pair[1] is not None]
    if lower:
        own = attack_title(evaluation_attack(runs[0].config))
        text += f", {numbers.points('lower', float(np.mean(lower)))} points less than {own} there"
    parts.append(text)
    return float(np.mean(lower)) if lower else 0.0


def _of(found: Sequence[object], runs: Sequence[Run], what: str, numbers: Numbers) -> str:
    """`` in 2 of 3 seeds``; nothing for one run."""
    if len(runs) == 1:
        return ""
    return f" in {numbers.plain(f'n_{what}', len(found))} of {numbers.plain('n_seeds', len(runs))} seeds"


def _autoattacked(run: Run) -> tuple[float, float | None, int] | None:
    """Accuracy under AutoAttack at the last epoch that has it, under the own attack there, and samples; final alone."""
    series = run.series("robustness", AUTOATTACK, "test", "adversarial")
    own = run.series(*OWN)
    if series.empty:
        return None
    row = series.iloc[-1]
    if len(own) and row["epoch"] < own["epoch"].iloc[-1]:
        return None
    same = own.loc[own["epoch"] == row["epoch"], "value"]
    return float(row["value"]), float(same.iloc[0]) if len(same) else None, int(row["n"])


def _checks(runs: Sequence[Run], numbers: Numbers, parts: list[str]) -> int | None:
    """Number of suspicious checks over the runs that were checked; None where none was."""
    found = [checked for run in runs if (checked := _checked(run)) is not None]
    if not found:
        parts.append("it was not checked for masked gradients")
        return None
    suspicious, n = int(sum(part[0] for part in found)), sum(part[1] for part in found)
    parts.append(
        f"{numbers.plain('suspicious', suspicious)} of {numbers.plain('n_checks', n)} checks for masked gradients "
        f"{'is' if suspicious == 1 else 'are'} suspicious{_of(found, runs, 'checked', numbers)}"
    )
    return suspicious


def _checked(run: Run) -> tuple[int, int] | None:
    """Suspicious checks and checks run, at the last epoch that was checked."""
    series = run.series("masking", "suspicious", "test", "adversarial")
    if series.empty:
        return None
    frame = run.records
    here = (frame["probe"] == "masking") & (frame["epoch"] == series["epoch"].iloc[-1])
    n = frame.loc[here & frame["field"].str.startswith("evidence/"), "field"].nunique()
    return int(series["value"].iloc[-1]), int(n)


def _few(runs: Sequence[Run]) -> bool:
    return any(_error(row["value"], row["n"]) > MOST_ERROR for row in _final_rows(runs))


def _final_rows(runs: Sequence[Run]) -> list[pd.Series]:
    """The last reading of each run's own robust test accuracy."""
    found = [run.series(*OWN) for run in runs]
    return [series.iloc[-1] for series in found if len(series)]


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
