"""The line below a figure: what was run, and what is drawn of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from overfit_lab.runs.experiments import experiments, noise_name
from overfit_lab.runs.naming import data_title, pixels
from overfit_lab.runs.reader import Run


def caption(runs: Sequence[Run], *, split: str = "", extra: str = "", shows: str = "band") -> str:
    """What was run, in one line: data, sizes, model, attack, noise, seeds.

    Args:
        runs: what is drawn.
        split: what was measured on which split.
        extra: anything else to say.
        shows: how several seeds are drawn: ``band`` (mean and range), ``mean``, or ``first`` of them.
    """
    data = _each(data_name(run) for run in runs)
    models = _each(run.config.model.name for run in runs)
    attacks = _each(attack_name(run) for run in runs)
    parts = [data, models, attacks, noise_name(runs), seeds_drawn(runs, shows), split, extra]
    return "; ".join(part for part in parts if part) + "."


def seeds_drawn(runs: Sequence[Run], shows: str) -> str:
    """How many seeds a curve is of, each setting counted by itself, and how they are drawn; see :func:`caption`."""
    counts = [len({run.config.seed for run in part}) for part in experiments(runs)]
    fewest, most = min(counts), max(counts)
    if most == 1:
        return "one seed" if len({run.config.seed for run in runs}) == 1 else "one seed each"
    if shows == "first":
        return f"seed {min(run.config.seed for run in runs)}"
    number = f"{most}" if fewest == most else f"{fewest} to {most}"
    return f"mean of {number} seeds" + (", band from lowest to highest" if shows == "band" else "")


def _each(texts: Iterable[str]) -> str:
    return " / ".join(dict.fromkeys(texts))


def data_name(run: Run) -> str:
    """The run's data set as a reader expects it, with the size of each split."""
    sizes = run.info.get("data", {}).get("sizes", {})
    counts = "".join(f", n {split} {size:,}" for split, size in sizes.items())
    return data_title(run.config) + counts


def attack_name(run: Run) -> str:
    """The attack that evaluation is made with."""
    evaluation, attack = run.config.evaluation, run.config.attack
    if evaluation.attack == "pgd" and not evaluation.n_steps:
        return "no attack"
    name = f"PGD-{evaluation.n_steps}" if evaluation.attack == "pgd" else evaluation.attack.rpartition(":")[2]
    return f"{name}, {attack.norm} eps {pixels(attack.eps)}"
