"""The source networks of transfer attacks: names from records, architecture and training from outcomes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from overfit_lab.errors import RunFolderError
from overfit_lab.files.arrays import read_arrays
from overfit_lab.files.json_text import parse_json
from overfit_lab.records import layout
from overfit_lab.records.naming import attack_title
from overfit_lab.records.reader import Run
from overfit_lab.views.tables.readings import measured_attacks

LABEL = re.compile(
    r"transfer-(?P<source>.+?)-(?P<steps>\d+(?:x\d+)?)(?P<unusual>(?:-(?:margin|dlr|linf|l2|eps.+|step.+))*)"
)
"""A source's own name may end in numbers; what is unusual of an attack comes after its steps."""
SEED = re.compile(r"[-_]?seed[-_]?\d+")


@dataclass(frozen=True)
class Source:
    """The network that a column's images were found on, whatever its seed, and how.

    Args:
        name: of its runs without the seed, with its checkpoint where that is not the final one.
        attack: ``pgd-20`` and the like, with what is unusual of it.
        model: its architecture in words; "" where that was not recorded.
        method: how it was trained, in words; "".
    """

    name: str
    attack: str
    model: str = ""
    method: str = ""

    @property
    def title(self) -> str:
        """Head of its columns: ``from NAME (ARCHITECTURE, METHOD), PGD-20``."""
        network = ", ".join(text for text in (self.model, self.method) if text)
        return f"from {self.name}{f' ({network})' if network else ''}, {self.attack}"


@dataclass
class Sources:
    """The sources of some runs.

    Args:
        attacks: names of attacks in the records, by run folder and source.
    """

    attacks: dict[tuple[str, Source], tuple[str, ...]] = field(default_factory=dict)

    def all(self) -> list[Source]:
        """Every source once, by name and attack."""
        return sorted(
            {source for _, source in self.attacks},
            key=lambda source: (source.name, source.attack, source.model, source.method),
        )

    def of(self, run: Run, source: Source) -> tuple[str, ...]:
        """The attacks of a run on one source: several where its runs of several seeds attacked it."""
        return self.attacks.get((str(run.folder), source), ())


def sources_of(runs: Sequence[Run]) -> Sources:
    """The sources of all transfer attacks in the records of some runs.

    A source's seeds are one source: of two runs whose names differ in the seed alone, as ``digits-deep-seed0`` and
    ``digits-deep-seed1``, each attacks the target of its own seed. What a source is is taken from the outcomes beside
    the records; where those do not say, from other runs that were attacked from a source of the name.
    """
    attacked: list[tuple[Run, str, str, str]] = []
    described: dict[str, set[tuple[str, str]]] = {}
    known: dict[tuple[str, str], tuple[str, str]] = {}
    for run in runs:
        for label, settings in transfer_settings(run).items():
            about = settings.get("source_about", {})
            known[str(run.folder), label] = (str(about.get("model", "")), str(about.get("method", "")))
        for label in sorted(measured_attacks(run)):
            source, attack = split_label(label)
            if source:
                attacked.append((run, label, source, attack))
                described.setdefault(source, set()).add(known.get((str(run.folder), label), ("", "")))
    attacks: dict[tuple[str, Source], list[str]] = {}
    for run, label, source, attack in attacked:
        about_source = known.get((str(run.folder), label), ("", ""))
        certain = described[source] - {("", "")}
        if about_source == ("", "") and len(certain) == 1:
            (about_source,) = certain
        attacks.setdefault((str(run.folder), Source(source, attack, *about_source)), []).append(label)
    return Sources({place: tuple(labels) for place, labels in attacks.items()})


def split_label(label: str) -> tuple[str, str]:
    """A transfer attack's name in records as source without seed and attack; two empty texts for another attack.

    Example:
        >>> split_label("transfer-digits-deep-seed0-best-20x5-margin")
        ('digits-deep-best', 'PGD-20, 5 restarts, margin')
    """
    parts = LABEL.fullmatch(label)
    if parts is None:
        return "", ""
    unusual = parts["unusual"].replace("-", ", ").replace("of", "/")
    return SEED.sub("", parts["source"]) or parts["source"], attack_title(f"pgd-{parts['steps']}") + unusual


def transfer_settings(run: Run) -> Mapping[str, dict[str, Any]]:
    """The settings of a run's transfer attacks by their names, from the outcomes that are kept beside the records."""
    by_label: dict[str, dict[str, Any]] = {}
    for path in sorted(layout.evaluations(run.folder).glob("transfer-*.npz")):
        notes = read_arrays(path, only="notes").get("notes")
        try:
            settings = parse_json(str(notes), str(path))["settings"]
            by_label[str(settings["label"])] = settings
        except (RunFolderError, KeyError, TypeError):
            continue
    return by_label
