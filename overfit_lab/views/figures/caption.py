"""The line below a figure: the setting of its runs and what is drawn."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import pandas as pd

from overfit_lab.records import naming
from overfit_lab.records.experiments import experiments, unrepeated
from overfit_lab.records.noise import noise_name
from overfit_lab.records.reader import Run


def caption(runs: Sequence[Run], *, split: str = "", extra: str = "", shows: str = "band") -> str:
    """What was run, in one line: data, sizes, model, attack, noise, seeds; then ``split`` and ``extra``.

    ``shows`` says how several seeds are drawn: ``band`` (mean and range), ``mean``, ``each`` by itself, or ``first``.
    """
    data = _each(data_name(run) for run in runs)
    models = _each(naming.model_title(run.config) for run in runs)
    attacks = _each(attack_name(run) for run in runs)
    parts = [data, models, attacks, noise_name(runs), seeds_drawn(runs, shows), split, extra]
    return " ".join(["; ".join(part for part in parts if part) + ".", *unrepeated(runs)[1]])


def seeds_drawn(runs: Sequence[Run], shows: str) -> str:
    """How many seeds a curve is of, each setting counted by itself, and how they are drawn; see :func:`caption`."""
    counts = [len({run.config.seed for run in part}) for part in experiments(runs)]
    number = span(counts)
    if number == "1" and not all(run.config.knows("seed") for run in runs):
        return "one run each" if len(runs) > 1 else "one run"
    if number == "1":
        return "one seed" if len({run.config.seed for run in runs}) == 1 else "one seed each"
    if shows == "first":
        return f"seed {min(run.config.seed for run in runs)}"
    if shows == "each":
        return f"{number} seeds, each by itself"
    return f"mean of {number} seeds" + (", band from lowest to highest" if shows == "band" else "")


def span(counts: Collection[int]) -> str:
    """``500``, or ``100 to 500`` where counts differ; "" for none."""
    ends = sorted({min(counts), max(counts)}) if counts else []
    return " to ".join(f"{count:,}" for count in ends)


def _each(texts: Iterable[str]) -> str:
    return " / ".join(dict.fromkeys(texts))


def data_name(run: Run) -> str:
    """The run's data set as a reader expects it, with the size of each split and how much of the whole set that is."""
    sizes, full = run.sizes, naming.full_sizes(run.config)
    counts = "".join(f", n {split} {size:,}{_share(size, full.get(split))}" for split, size in sizes.items())
    together = _share(sum(sizes.values()), full.get("all")) if sizes else ""
    return naming.data_title(run.config) + counts + (f" ({together.strip()})" if together else "")


def _share(size: int, full: int | None) -> str:
    """`` of 50,000`` where a split is not the full set."""
    return f" of {full:,}" if full and size < full else ""


def samples(runs: Sequence[Run], probe: str, field: str, split: str, inputs: str) -> str:
    """How many samples a number was measured on: ``500 adversarial test images``; without the count where none is.

    With ``inputs`` empty, of clean and of adversarial ones. Epochs that not all seeds have play no part, as in curves.
    """
    kinds = (inputs,) if inputs else ("clean", "adversarial")
    numbers: set[int] = set()
    for part in experiments(runs):
        for kind in kinds:
            tables = [run.series(probe, field, split, kind).set_index("epoch")["n"] for run in part]
            shared = pd.concat([table for table in tables if len(table)] or tables, axis=1, join="inner")
            numbers |= {int(n) for n in shared.to_numpy(float).ravel() if n > 0}
    return " ".join(part for part in (span(numbers), inputs, split, "images") if part)


def stages(decays: Sequence[int]) -> str:
    """What the marks of :func:`overfit_lab.views.figures.style.mark_stages` mean; "" where there are none."""
    return "dotted: learning-rate decays; shaded: growth stage, after the first" if decays else ""


def attack_name(run: Run) -> str:
    """The attack that evaluation is made with, and its threat model."""
    attack = naming.evaluation_attack(run.config)
    title = naming.attack_title(attack)
    return f"{title}, {naming.threat_title(run.config)}" if attack else title
