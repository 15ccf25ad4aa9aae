"""Whether a run can be gone on with to a later end: where nothing that it did so far depends on its length.

What was done is asked, not named: learning rates and radii of the steps that were taken are compared between a run of
the one length and a run of the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from overfit_lab.config import resolve_moment
from overfit_lab.config.quantities import parse_percent
from overfit_lab.files.tensorfile import read_tensors
from overfit_lab.methods.combination import Combination
from overfit_lab.methods.regularizers.base import Regularizer
from overfit_lab.methods.teachers import FOLDER as TEACHERS
from overfit_lab.methods.teachers import TRAINED_FIRST
from overfit_lab.records import layout
from overfit_lab.records.identity import flatten
from overfit_lab.training.step import learning_rate


def why_not_longer(before: Combination, now: Combination, folder: Path) -> str:
    """Why a run cannot be gone on with to the end of a longer one, in a clause; "" where it can.

    Args:
        before: the run of the folder.
        now: the same but for a larger ``epochs``.

    Raises:
        RunFolderError: a checkpoint or prior of the folder is damaged.

    Cost: two evaluations of the schedule for each step that was taken.
    """
    n_before, n_now = before.config.epochs, now.config.epochs
    settings = {
        f"{part}.{key}": value
        for part, choice in {"labels": now.choices["labels"], **now.added}.items()
        for key, value in flatten(choice.part.options).items()
    }
    trained = [f"{key} = {value}" for key, value in settings.items() if str(value).startswith(TRAINED_FIRST)]
    if trained and (folder / TEACHERS).is_dir():
        return f"{trained[0]} was trained for {n_before} epochs, and not for {n_now}"
    path = layout.resumable_path(folder)
    if path is None:
        return ""
    done = layout.clock_of(path)
    for key, value in settings.items():
        moments = [resolve_moment(value, n) for n in (n_before, n_now)] if parse_percent(value) is not None else [0]
        if len(set(moments)) > 1:
            return f"{key} = {value} was epoch {moments[0]}, and would be {moments[1]}; say it as an epoch"
    evaluated = [name for name, choice in now.added.items() if choice.cls.evaluated is not Regularizer.evaluated]
    if evaluated and done["epoch"] == n_before and n_before % now.config.evaluation.every:
        return (
            f"{evaluated[0]} looked at epoch {n_before}, which evaluation.every = {now.config.evaluation.every} skips"
        )
    n_batches = max(1, round(done["step"] / done["progress"])) if done["progress"] else 1
    lengths = [(done["step"], n_before, n_now)]
    lengths += [(n * n_batches, max(n, n_before), max(n, n_now)) for n in _prior_epochs(folder)]
    for n_steps, *ends in lengths:
        for step, (was, would_be) in enumerate(
            zip(*(_of_steps(now, n, n_steps, n_batches) for n in ends), strict=True)
        ):
            for what, a, b in zip(("learning rate", "eps"), was, would_be, strict=True):
                if a != b:
                    return f"{_named(now, what)} was {a:.6g} in epoch {step // n_batches + 1}, and would be {b:.6g}"
    return ""


def _named(run: Combination, what: str) -> str:
    """What a schedule changes, with what changes it."""
    config = run.config
    if what == "eps":
        return f"eps (attack.eps_schedule {config.attack.eps_schedule.name!r})"
    warmup = f", warmup {config.optimizer.warmup}" if config.optimizer.warmup else ""
    return f"the learning rate (schedule {config.schedule.name!r}{warmup})"


def _of_steps(run: Combination, n_epochs: int, n_steps: int, n_batches: int) -> Iterator[tuple[float, float]]:
    """Learning rate and radius of the first steps of a run of so many epochs."""
    config = run.config.model_copy(update={"epochs": n_epochs})
    schedule, eps = (run.choices[key].make(n_epochs) for key in ("schedule", "eps_schedule"))
    for step in range(n_steps):
        progress = step // n_batches + step % n_batches / n_batches
        yield (
            learning_rate(config, schedule, progress, n_batches),
            config.attack.eps * eps.factor(progress),
        )


def _prior_epochs(folder: Path) -> list[int]:
    """Lengths of the priors that were trained by the run's schedule and are kept in its folder."""
    lengths: list[Any] = [
        read_tensors(path, "prior")[0].get("prior", {}).get("epochs", 0)
        for path in sorted((folder / "priors").glob("*.safetensors"))
    ]
    return [int(n) for n in lengths]
