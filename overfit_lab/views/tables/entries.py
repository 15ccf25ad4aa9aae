"""Which runs make one row: seeds of one experiment on one set of weights. Nothing else is ever averaged."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from overfit_lab.records import identity
from overfit_lab.records.experiments import experiments, noise_name, tell_apart
from overfit_lab.records.naming import data_title, method_key, method_title, model_title, threat_title
from overfit_lab.records.reader import Run
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
IMPORTED = "imported"


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
    def unfinished(self) -> str:
        """Runs that did not come to their end, in words; "" where all did."""
        found = [
            f"{run.name} ({status} at epoch {run.info.get('epoch', '?')} of {run.config.epochs})"
            for run in self.runs
            if (status := run.info.get("status", "unknown")) not in ("completed", IMPORTED)
        ]
        return f"not completed: {', '.join(found)}" if found else ""


def unrepeated(runs: Sequence[Run]) -> tuple[list[Run], tuple[str, ...]]:
    """Runs in an order of their own, each experiment's seed once, and a note on those that were left out.

    Of two runs of one experiment and seed the one with more records stands: counted twice it would narrow the spread.
    """
    kept: dict[str, Run] = {}
    dropped = []
    for run in sorted(runs, key=lambda run: (-len(run.records), run.name, str(run.folder))):
        config = run.config
        same = json.dumps([identity.experiment(config), config.seed, config.data.seed], sort_keys=True)
        first = kept.setdefault(str(run.folder) if is_imported(run) else same, run)
        if first is not run:
            dropped.append(f"{run.name} (as {first.name})")
    ordered = sorted(kept.values(), key=lambda run: (run.config.seed, run.name, str(run.folder)))
    note = f"Left out, the same experiment with the same seed as another: {', '.join(sorted(dropped))}."
    return ordered, (note,) if dropped else ()


def entries(runs: Sequence[Run], also_free: Sequence[str] = (), *, noise: bool = True) -> list[Entry]:
    """Rows in the order printed: by section, then as :data:`ORDER`.

    Args:
        runs: as :func:`unrepeated` gives them.
        also_free: settings that a table has columns for, so that runs of one row may differ in them.
        noise: whether label noise is named in the section.
    """
    named: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if not is_imported(run):
            named.setdefault((section(run, noise=noise), method_title(run.config)), []).append(run)
    found = []
    for (where, title), members in named.items():
        parts = experiments(members, also_free)
        for part, words in zip(parts, tell_apart(parts, also_free), strict=True):
            found += list(_by_weights(where, title, words, part))
    for run in runs:
        if is_imported(run):
            found.append(Entry(section(run, noise=noise), f"{run.name} (imported)", "", RAW, (run,)))
    return sorted(found, key=_place)


def _by_weights(where: str, title: str, words: str, part: Sequence[Run]) -> Iterator[Entry]:
    """One entry a set of weights; those that a regularizer keeps come under the method's plain name."""
    others = sorted({name for run in part for name in second_weights(run)})
    for weights in (*others, RAW):
        which = f"{weights} weights" if others and (weights == RAW or len(others) > 1) else ""
        told = ", ".join(text for text in (words, which) if text)
        label = f"{title} ({told})" if told else title
        yield Entry(where, label, method_key(part[0].config), weights, tuple(part))


def _place(entry: Entry) -> tuple[str, bool, int, str, bool, str, str]:
    rank = ORDER.index(entry.key) if entry.key in ORDER else len(ORDER)
    plain = entry.label.partition(" (")[0]
    return entry.section, not entry.key, rank, plain, entry.weights == RAW, entry.label, str(entry.runs[0].folder)


def is_imported(run: Run) -> bool:
    """Whether the weights were trained elsewhere and only measured here."""
    return run.info.get("status") == IMPORTED


def section(run: Run, *, noise: bool = True) -> str:
    """What must agree for numbers to be comparable at all: data, model and threat model, in words."""
    sizes = run.info.get("data", {}).get("sizes", {})
    counts = [f"{sizes[s]:,} {name} images" for s, name in (("train", "training"), ("test", "test")) if s in sizes]
    noisy = [noise_name([run])] if noise and run.config.data.noise.rate > 0 else []
    data = ", ".join([data_title(run.config), *counts, *noisy])
    return "; ".join([data, model_title(run.config), threat_title(run.config)])
