"""Groups of runs that are judged together: seeds of one experiment, and comparable experiments."""

from __future__ import annotations

from collections.abc import Sequence

from overfit_lab.files.escape import as_unicode
from overfit_lab.records import identity
from overfit_lab.records.experiments import experiments, unrepeated
from overfit_lab.records.naming import common_name, data_title, model_title, threat_title
from overfit_lab.records.noise import noise_name
from overfit_lab.records.reader import Run
from overfit_lab.views.diagnosis.finding import Subject

ALL = "all runs"
"""Name of the subject of all runs."""


def subjects_of(runs: Sequence[Run]) -> list[Subject]:
    """One subject an experiment, its runs in order of their seeds, each seed once.

    Subjects are called by what their runs' names have in common, and by their first folder where that is not unique.
    """
    parts = [sorted(part, key=lambda run: run.config.seed) for part in experiments(unrepeated(runs)[0])]
    names = [common_name([run.name for run in part]) for part in parts]
    return [
        Subject(name if names.count(name) == 1 else as_unicode(str(part[0].folder)), tuple(part))
        for name, part in zip(names, parts, strict=True)
    ]


def settings_of(subjects: Sequence[Subject]) -> list[Subject]:
    """One subject for experiments of one :func:`overfit_lab.records.identity.setting`; its runs are those of all."""
    groups: list[tuple[dict[str, object], list[Subject]]] = []
    for subject in subjects:
        setting = identity.setting(subject.runs[0].config)
        members = next((members for known, members in groups if known == setting), [])
        if not members:
            groups.append((setting, members))
        members.append(subject)
    titles = [_title(members) for _, members in groups]
    return [
        Subject(
            title if titles.count(title) == 1 else f"{title}: {members[0].name}",
            tuple(run for member in members for run in member.runs),
            members[0].threshold,
        )
        for title, (_, members) in zip(titles, groups, strict=True)
    ]


def _title(members: Sequence[Subject]) -> str:
    """Such as "CIFAR-10, ResNet-18, l_inf eps 8/255, no label noise"."""
    runs = [run for member in members for run in member.runs]
    config = runs[0].config
    parts = [data_title(config), model_title(config), threat_title(config), noise_name(runs)]
    return ", ".join(part for part in parts if part)
