"""Best, final and the difference: what robust overfitting costs, run by run and over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from overfit_lab.errors import RunFolderError
from overfit_lab.records.best import INPUTS, SPLITS, Best, after_robustness, best_of, choosing
from overfit_lab.records.experiments import experiment_key, unrepeated
from overfit_lab.records.naming import common_name, method_title
from overfit_lab.records.noise import noise_words
from overfit_lab.records.reader import Run
from overfit_lab.records.status import COMPLETE

ENDINGS = {
    "ece_adv_final": ("calibration", "ece", "test", "adversarial"),
    "grad_norm_final": ("gradient-norm", "full", "train", "adversarial"),
    "iiw_final": ("iiw", "iiw", "train", "adversarial"),
    "hessian_trace_final": ("hessian", "trace", "train", "adversarial"),
}
TITLES = {
    "run": "run",
    "status": "status",
    "labels": "labels",
    "weights": "weights",
    "noise": "noise",
    "n_seeds": "seeds",
    "chosen_on": "best chosen on",
    "best_epoch": "best epoch",
    "clean_best": "clean best %",
    "clean_final": "clean final %",
    "clean_diff": "clean diff",
    "robust_best": "robust best %",
    "robust_final": "robust final %",
    "robust_diff": "robust diff",
    "robust_train_final": "robust train final %",
    "ece_adv_final": "adv. ECE final",
    "grad_norm_final": "grad. norm final",
    "iiw_final": "IIW final (nats)",
    "hessian_trace_final": "Hessian trace final",
}
TEXTS = ("run", "status", "labels", "weights", "noise", "chosen_on")
RAW = "raw"


def probe_name(probe: str, weights: str) -> str:
    """What a probe's records on some weights are called: ``evaluation``, ``evaluation@swa``."""
    return probe if weights == RAW else f"{probe}@{weights}"


def second_weights(run: Run) -> list[str]:
    """Names of the weights that the run was evaluated with beside the raw ones: ``["swa"]``."""
    probes = run.records["probe"].unique()
    return sorted(name.partition("@")[2] for name in probes if name.startswith("evaluation@"))


def best_epoch(run: Run, weights: str = RAW, by: str = "auto") -> Best:
    """The best epoch of some weights, and what chose it: the rules are those of :mod:`overfit_lab.records.best`.

    ``by`` is ``val`` or ``test`` where one split alone is to choose.

    Raises:
        RunFolderError: the run holds no evaluation, or none on the split asked for.
    """

    def series(metric: str, split: str) -> pd.DataFrame:
        return run.series(probe_name("evaluation", weights), metric, split, INPUTS[metric])

    chosen = choosing(after_robustness(run.config, run.info), lambda *place: len(series(*place)) > 0, SPLITS[by])
    best = best_of(series(*chosen)["epoch"], series(*chosen)["value"], *chosen) if chosen else None
    if best is not None:
        return best
    if by == "val":
        raise RunFolderError(f"{run.folder}: holds no evaluation on val to choose the best epoch by; choose by test")
    splits = "test" if by == "test" else "test or val"
    raise _no_evaluation(run, f" on {splits}")


def _no_evaluation(run: Run, where: str = "") -> RunFolderError:
    if run.is_imported:
        return RunFolderError(
            f"{run.folder}: holds imported weights, which have neither a best nor a last epoch; `overfit-lab table` "
            "shows what was measured on them"
        )
    return RunFolderError(f"{run.folder}: holds no evaluation{where}; was it stopped before its first epoch?")


def final_epoch(run: Run) -> int:
    """The last epoch that was evaluated."""
    evaluated = run.records.loc[run.records["probe"] == "evaluation", "epoch"]
    if evaluated.empty:
        raise _no_evaluation(run)
    return int(evaluated.max())


def summarise_run(run: Run, weights: str = RAW, by: str = "auto") -> dict[str, Any]:
    """One row: accuracies on the test split in percent at the best and the final epoch, diff = best - final.

    ``weights`` are the raw ones, or those of a regularizer such as ``swa``; ``by`` as for :func:`best_epoch`.

    Both accuracies are read at the same best epoch. A probe's final number is the one at the final epoch, and missing
    where it was only measured earlier, on the best checkpoint say.
    """
    best = best_epoch(run, weights, by)
    final = final_epoch(run)
    row: dict[str, Any] = {
        "run": run.name,
        "status": run.status,
        "group": f"{weights} {experiment_key(run)}",
        "labels": label_name(run),
        "weights": weights,
        "noise": noise_words(run),
        "seed": run.config.seed,
        "chosen_on": best.chosen_on,
        "best_epoch": best.epoch,
        "final_epoch": final,
    }
    for name, field in (("clean", "acc_clean"), ("robust", "acc_adv")):
        evaluation = probe_name("evaluation", weights)
        values = [run.value_at(e, evaluation, field, "test", INPUTS[field]) for e in (best.epoch, final)]
        at_best, at_final = (None if value is None else 100 * value for value in values)
        row[f"{name}_best"], row[f"{name}_final"] = at_best, at_final
        row[f"{name}_diff"] = None if at_best is None or at_final is None else at_best - at_final
    train = run.value_at(final, probe_name("evaluation", weights), "acc_adv", "train", "adversarial")
    row["robust_train_final"] = None if train is None else 100 * train
    for column, (probe, *source) in ENDINGS.items():
        row[column] = run.value_at(final, probe_name(probe, weights), *source)
    return row


def label_name(run: Run) -> str:
    """The label mode, with regularizers after it, and the objective before it where that is not pgd-at.

    Such as ``sglr``, ``hard + awp``, ``trades, sglr``; of a monitored run the method in its own words.
    """
    if run.config.is_monitored:  # a comma would end the objective's name
        return method_title(run.config).replace(", ", ",\u00a0")
    objective = run.config.objective.name
    labels = " + ".join([run.config.labels.name, *(part.name for part in run.config.regularizers)])
    return labels if objective == "pgd-at" else f"{objective}, {labels}"


def summarise(runs: Sequence[Run], by: str = "auto") -> pd.DataFrame:
    """One row a run and set of weights; see :func:`summarise_run`."""
    return pd.DataFrame([summarise_run(run, weights, by) for run in runs for weights in (RAW, *second_weights(run))])


def aggregate(summary: pd.DataFrame) -> pd.DataFrame:
    """One row for runs that differ in the seed alone: mean, and ``*_std`` over seeds (sample standard deviation).

    The group's name is its runs' common beginning; ``status`` is empty where all of them are completed.
    """
    rows = []
    for _, group in summary.groupby("group", sort=False):
        first = group.iloc[0]
        row: dict[str, Any] = {key: first[key] for key in ("labels", "weights", "chosen_on")}
        row["noise"] = " / ".join(dict.fromkeys(group["noise"]))
        row["run"] = common_name(list(group["run"]))
        unfinished = sorted(set(group["status"]) - set(COMPLETE))
        row["status"] = ", ".join(unfinished) if unfinished else None
        row["n_seeds"] = group["seed"].nunique()
        for column in group.columns:
            if column in TITLES and column not in (*TEXTS, "n_seeds"):
                values = pd.to_numeric(group[column])
                row[column], row[f"{column}_std"] = values.mean(), values.std(ddof=1)
        rows.append(row)
    return pd.DataFrame(rows)


def compare(runs: Sequence[Run], by: str = "auto") -> pd.DataFrame:
    """The best/final/diff table of runs: over seeds where some differ in the seed alone, else run by run.

    Each seed counts once; :func:`overfit_lab.records.experiments.unrepeated` says which runs are left out.
    """
    return aggregate(summarise(unrepeated(runs)[0], by))
