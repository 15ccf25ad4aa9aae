"""The runs of one row: seeds of one experiment on one set of weights. Nothing else is averaged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from overfit_lab.records.experiments import experiments, tell_apart
from overfit_lab.records.naming import data_title, method_key, method_title, model_title, threat_title
from overfit_lab.records.noise import is_noisy, noise_name
from overfit_lab.records.reader import Run
from overfit_lab.records.status import COMPLETE, ended_at
from overfit_lab.records.summary import RAW, second_weights

ORDER = (
    "standard",
    "pgd-at",
    "pgd-at+smooth",
    "pgd-at+te",
    "pgd-at+sglr",
    "awp",
    "kd-at",
    "kd-swa",
    "trades",
    "trades+sglr",
)
"""Methods in the order in which the paper prints them; others follow by name."""


@dataclass(frozen=True)
class Entry:
    """The runs of one row.

    Args:
        section: data, model and threat model in words.
        label: the method, with what tells it from others of the same name.
        key: see :func:`overfit_lab.records.naming.method_key`; "" for imported weights, whose training is not known.
        weights: ``raw``, or those of a regularizer such as ``swa``.
        runs: one a seed, by seed.
    """

    section: str
    label: str
    key: str
    weights: str
    runs: tuple[Run, ...]

    @property
    def method(self) -> str:
        """The label without what tells it from others of the same name."""
        return self.label.partition(" (")[0]

    @property
    def unfinished(self) -> str:
        """Runs that did not come to their end, in words; "" where all did."""
        runs = [f"{run.name} ({ended_at(run)})" for run in self.runs if run.status not in COMPLETE]
        return f"not completed: {', '.join(runs)}" if runs else ""


def entries(runs: Sequence[Run], also_free: Sequence[str] = (), *, noise: bool = True) -> list[Entry]:
    """Rows in the order printed: by section, then as :data:`ORDER`.

    Args:
        runs: as :func:`overfit_lab.records.experiments.unrepeated` gives them.
        also_free: settings that a table has columns for, so that runs of one row may differ in them.
        noise: whether label noise is named in the section.
    """
    runs = sorted(runs, key=lambda run: (run.config.seed, run.name, str(run.folder)))
    rows = []
    by_method: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        setting = section(run, noise=noise)
        if run.is_imported:
            rows.append(Entry(setting, f"{run.name} (imported)", "", RAW, (run,)))
        else:
            by_method.setdefault((setting, method_title(run.config)), []).append(run)
    for (setting, title), members in by_method.items():
        parts = experiments(members, also_free)
        for part, words in zip(parts, tell_apart(parts, also_free), strict=True):
            rows += list(_by_weights(setting, title, words, part))
    return sorted(rows, key=_place)


def _by_weights(setting: str, title: str, words: str, part: Sequence[Run]) -> Iterator[Entry]:
    """One entry a set of weights; those that a regularizer keeps come under the method's plain name."""
    others = sorted({name for run in part for name in second_weights(run)})
    for weights in (*others, RAW):
        which = f"{weights} weights" if others and (weights == RAW or len(others) > 1) else ""
        difference = ", ".join(text for text in (words, which) if text)
        label = f"{title} ({difference})" if difference else title
        yield Entry(setting, label, method_key(part[0].config), weights, tuple(part))


def _place(entry: Entry) -> tuple[str, bool, int, str, bool, str, str]:
    rank = ORDER.index(entry.key) if entry.key in ORDER else len(ORDER)
    return (
        entry.section,
        not entry.key,
        rank,
        entry.method,
        entry.weights == RAW,
        entry.label,
        str(entry.runs[0].folder),
    )


def section(run: Run, *, noise: bool = True) -> str:
    """Data, model and threat model in words, which must agree for numbers to be comparable."""
    names = {"train": "training", "test": "test"}
    counts = [f"{run.sizes[split]:,} {name} images" for split, name in names.items() if split in run.sizes]
    noisy = [noise_name([run])] if noise and is_noisy(run) else []
    data = ", ".join([data_title(run.config), *counts, *noisy])
    return "; ".join([data, model_title(run.config), threat_title(run.config)])
