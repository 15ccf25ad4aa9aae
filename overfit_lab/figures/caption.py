"""The line below a figure: what was run, and what is drawn of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from overfit_lab.figures.experiments import experiments, noise_name
from overfit_lab.runs.reader import Run

DATA_TITLES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "cifar10-jpeg": "CIFAR-10 (JPEG q75)"}


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
    name = run.config.data.name
    source = name.partition(":")[2].rstrip("/").split("/")[-1] or name
    sizes = run.info.get("data", {}).get("sizes", {})
    counts = "".join(f", n {split} {size:,}" for split, size in sizes.items())
    return DATA_TITLES.get(source, source) + counts


def attack_name(run: Run) -> str:
    """The attack that evaluation is made with."""
    steps, attack = run.config.evaluation.n_steps, run.config.attack
    return f"PGD-{steps}, {attack.norm} eps {pixels(attack.eps)}" if steps else "no attack"


def pixels(eps: float) -> str:
    """A pixel distance as it is usually written."""
    whole = round(eps * 255)
    return f"{whole}/255" if abs(whole / 255 - eps) < 1e-12 and whole else f"{eps:g}"
