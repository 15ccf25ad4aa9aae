"""Numbers over epochs from several runs: grouping, means and bands. All arithmetic of the figures is here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from overfit_lab.errors import RunFolderError
from overfit_lab.records.experiments import unrepeated
from overfit_lab.records.reader import Run
from overfit_lab.records.summary import label_name
from overfit_lab.views.diagnosis.readings import decays_in

NAMES = {"hard": "hard labels", "smooth": "label smoothing", "sglr": "SGLR"}
ORDER = ("hard", "smooth", "sglr")


@dataclass(frozen=True)
class Curve:
    """Mean over ``n_runs`` runs at each epoch that all of them have, and the lowest and highest of them, (E,) each."""

    epoch: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n_runs: int


def curve(runs: Sequence[Run], probe: str, field: str, split: str | None, inputs: str | None) -> Curve | None:
    """One number over epochs, over the runs that have it; None where none has, or they have no epoch in common."""
    columns = [run.series(probe, field, split, inputs).set_index("epoch")["value"] for run in runs]
    columns = [series for series in columns if len(series)]
    if not columns:
        return None
    table = pd.concat(columns, axis=1, join="inner").sort_index()
    if table.empty:
        return None
    values = table.to_numpy()
    return Curve(table.index.to_numpy(), values.mean(1), values.min(1), values.max(1), len(columns))


def need_curve(
    runs: Sequence[Run], figure: str, probe: str, field: str, split: str | None, inputs: str | None
) -> Curve:
    """The curve of :func:`curve`, or a refusal to draw the figure.

    Raises:
        RunFolderError: none of the runs has it, and the message says how to record it; or no reading is finite, or they
            have no epoch of it in common.
    """
    required = curve(runs, probe, field, split, inputs)
    if required is None:
        names = ", ".join(run.name for run in runs[:3])
        subset = " ".join(part for part in (inputs, split) if part)
        if any(len(run.series(probe, field, split, inputs)) for run in runs):
            raise RunFolderError(f"{figure}: {probe} {field} ({subset}) was measured at no epoch that {names} share")
        if any(_null(run, probe=probe, field=field, split=split, inputs=inputs) for run in runs):
            raise RunFolderError(f"{figure}: no finite reading of {probe} {field} ({subset}) in {names}")
        if probe in ("training", "evaluation"):
            raise RunFolderError(f"{figure}: no {field} ({subset}) in {names}; it is recorded while training")
        raise not_recorded(figure, f"{probe} {field} ({subset})", runs, probe)
    return required


def _null(run: Run, **key: str | None) -> bool:
    """Whether a number that has no finite reading was measured all the same."""
    rows = run.records
    return any(all(row[name] == part for name, part in key.items() if part is not None) for _, row in rows.iterrows())


def not_recorded(figure: str, what: str, runs: Sequence[Run], probe: str) -> RunFolderError:
    """The refusal to draw what a probe did not record, with the command that records it."""
    names = ", ".join(run.name for run in runs[:3])
    return RunFolderError(
        f"{figure}: no {what} in {names}; record it by `overfit-lab probe RUN --metric {probe} --checkpoint all`"
    )


def level_around(readings: Curve, epoch: float) -> float:
    """Mean of the three readings around the one nearest to an epoch, fully within the curve."""
    nearest = int(np.argmin(np.abs(readings.epoch - epoch)))
    first = int(np.clip(nearest - 1, 0, max(0, len(readings.mean) - 3)))
    return float(readings.mean[first : first + 3].mean())


def pooled_bins(runs: Sequence[Run], inputs: str) -> np.ndarray | None:
    """Reliability bins on test of each run's last epoch that has them, as if the samples of all runs were one set.

    Returns:
        (bins, 3): mean confidence, accuracy, count; None where no run has them.
    """
    per_run = []
    for run in runs:
        epochs = run.epochs_with_arrays("calibration")
        table = run.arrays("calibration", epochs[-1]).get(f"reliability-test-{inputs}") if epochs else None
        per_run += [] if table is None else [table]
    if not per_run:
        return None
    tables = np.nan_to_num(np.stack(per_run).astype(float))
    counts = tables[:, :, 2]
    total = counts.sum(0)
    means = (tables[:, :, :2] * counts[:, :, None]).sum(0) / np.maximum(total, 1)[:, None]
    return np.concatenate([means, total[:, None]], axis=1)


def by_labels(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs by label mode (with the objective where that is not pgd-at): hard, smooth, sglr first, others by name.

    Each seed of an experiment counts once.
    """
    groups: dict[str, list[Run]] = {}
    for run in unrepeated(runs)[0]:
        groups.setdefault(label_name(run), []).append(run)
    return {name: groups[name] for name in sorted(groups, key=_place)}


def _place(name: str) -> tuple[str, int, str]:
    objective, labels = split_name(name)
    return objective, ORDER.index(labels) if labels in ORDER else len(ORDER), labels


def split_name(name: str) -> tuple[str, str]:
    """The objective, "" for pgd-at, and the label mode of a group's name such as "trades, hard"."""
    objective, _, labels = name.rpartition(", ")
    return objective, labels


def title_of(name: str) -> str:
    """A group's name as a title; the part in brackets is unchanged."""
    name, bracket, words = name.partition(" (")
    objective, labels = split_name(name)
    mode, plus, regularizers = labels.partition(" + ")
    title = NAMES.get(mode, mode) + plus + regularizers + bracket + words
    return f"{objective} training, {title}" if objective else title


def noise_rate(run: Run) -> float:
    """Eta of the run's label noise."""
    return run.config.data.noise.rate if run.config.data.noise.kind != "none" else 0.0


def share_untouched(runs: Sequence[Run], figure: str) -> float:
    """Share of the training labels that noise left alone, in [0, 1]: mean over the runs.

    Of the full training split, from run.json; where that does not say, of the samples of the memorisation probe, which
    may be fewer.

    Raises:
        RunFolderError: the runs do not say.
    """
    if not any(map(noise_rate, runs)):
        return 1.0
    try:
        drawn = [run.info["data"]["n_resampled"] / run.info["data"]["sizes"]["train"] for run in runs]
    except KeyError as error:
        measured = curve(runs, "memorisation", "share_untouched", "train", None)
        if measured is not None:
            return float(measured.mean[-1])
        raise RunFolderError(
            f"{figure}: no share of untouched labels in {runs[0].name}; "
            "record it by `overfit-lab probe RUN --metric memorisation`"
        ) from error
    return 1 - float(np.mean(drawn))


def decays(runs: Sequence[Run]) -> list[int]:
    """Epochs at which the learning rate decays, by the diagnosis' reading, in all of the runs that recorded it.

    The epoch is that of the last one at the higher rate, so a line there separates the two.
    """
    decays = [set(decays_in(run)) for run in runs if len(run.series("training", "lr"))]
    return sorted(int(epoch) for epoch in set.intersection(*decays)) if decays else []


def last_epoch(runs: Sequence[Run]) -> int:
    """The last epoch recorded in any of the runs."""
    return max(int(run.records["epoch"].max()) for run in runs)


def check_some(runs: Sequence[Run], figure: str) -> None:
    """Refuse an empty list of runs, and runs without a record.

    Raises:
        RunFolderError: nothing to draw.
    """
    if not runs:
        raise RunFolderError(f"{figure}: no runs to draw")
    for run in runs:
        if run.records.empty:
            raise RunFolderError(f"{figure}: {run.folder} holds no records yet")


def shares_by_bin(values: np.ndarray, n_bins: int) -> np.ndarray:
    """Shares (n_bins,) of the finite values that fall into equal bins of [0, 1], in sum one."""
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    counts, _ = np.histogram(finite.clip(0, 1), bins=n_bins, range=(0, 1))
    return np.asarray(counts / max(len(finite), 1))
