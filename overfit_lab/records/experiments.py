"""Which runs are seeds of one experiment, so that nothing but seeds is ever averaged, and what tells others apart.

Compare, table, diagnosis, report and figures ask here, so that they average and leave out the same, and say so alike.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from overfit_lab.records import identity
from overfit_lab.records.naming import common_name
from overfit_lab.records.noise import noise_name
from overfit_lab.records.reader import Run

MOST_SETTINGS = 2
"""Experiments that differ in more settings are told apart by the names of their folders."""
NOISE = "data.noise."


def experiments(runs: Sequence[Run], also_free: Sequence[str] = ()) -> list[list[Run]]:
    """Runs of one :func:`overfit_lab.records.identity.experiment` together, in the order in which they come.

    A run that does not say enough, see :func:`says_enough`, is by itself.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(experiment_key(run, also_free), []).append(run)
    return list(groups.values())


def experiment_key(run: Run, also_free: Sequence[str] = ()) -> str:
    """Text that is equal for seeds of one experiment."""
    settings = json.dumps(identity.experiment(run.config, also_free), sort_keys=True)
    return settings if says_enough(run) else f"{run.folder.resolve()} {settings}"


def says_enough(run: Run) -> bool:
    """Whether a run says what it is a seed of: a monitored one that says neither method nor settings, or no seed, not.

    What another loop did is not to be seen in its records.
    """
    config = run.config
    described = config.monitored.method is not None or bool(config.monitored.config)
    return not config.is_monitored or (described and config.knows("seed"))


def unrepeated(runs: Sequence[Run]) -> tuple[list[Run], tuple[str, ...]]:
    """Runs in their order, each experiment's seed once, and notes on what was left out and what is not averaged.

    Of two runs of one experiment and seed the one with more records stands: counted twice it would narrow the spread.
    """
    standing: dict[str, Run] = {}
    dropped = {}
    for run in sorted(runs, key=lambda run: (-len(run.records), run.name, str(run.folder))):
        same = json.dumps([experiment_key(run), run.config.seed, run.config.data.seed])
        first = standing.setdefault(str(run.folder) if run.is_imported else same, run)
        if first is not run:
            dropped[run] = f"{run.name} (as {first.name})"
    note = f"Left out, the same experiment with the same seed as another: {', '.join(sorted(dropped.values()))}."
    return [run for run in runs if run not in dropped], ((note,) if dropped else ()) + alike(runs)


def alike(runs: Sequence[Run]) -> tuple[str, ...]:
    """A note on runs that cannot be told apart by what they say of themselves; none where there are no such runs."""
    silent: dict[str, list[str]] = {}
    for run in runs:
        if not says_enough(run):
            said = json.dumps(identity.experiment(run.config, (identity.KNOWN,)), sort_keys=True)
            silent.setdefault(said, []).append(run.name)
    names = sorted(name for members in silent.values() if len(members) > 1 for name in members)
    if not names:
        return ()
    return (
        f"Cannot be told apart, so each is by itself and none are averaged: {', '.join(names)}; "
        "Monitor(method=..., seed=...) says what a run is.",
    )


def differences(runs: Sequence[Run], also_free: Sequence[str] = ()) -> dict[str, list[Any]]:
    """The settings in which runs differ, each with its values in the order in which they come."""
    settings = [identity.experiment(run.config, also_free) for run in runs]
    differing: dict[str, list[Any]] = {}
    for key in dict.fromkeys(key for one in settings for key in one):
        values = [one.get(key) for one in settings]
        distinct = [value for i, value in enumerate(values) if value not in values[:i]]
        if len(distinct) > 1:
            differing[key] = distinct
    if len(differing) > 1:
        differing.pop(identity.KNOWN, None)  # that one run says more is seen in what it says
    if sum(key.startswith("regularizers") for key in differing) > 1:
        differing.pop(identity.ORDER, None)  # other regularizers have another order too
    return differing


def tell_apart(parts: Sequence[Sequence[Run]], also_free: Sequence[str] = ()) -> list[str]:
    """Words for each of some experiments that say in what it differs from the others; "" for a single one.

    At most :data:`MOST_SETTINGS` settings are named; where experiments differ in more, the name of the runs is taken.
    """
    if len(parts) == 1:
        return [""]
    names = [common_name([run.name for run in part]) for part in parts]
    names = names if len(set(names)) == len(names) else [str(part[0].folder) for part in parts]
    if not all(says_enough(part[0]) for part in parts):
        return names
    keys = list(differences([part[0] for part in parts], also_free))
    others = [key for key in keys if not key.startswith(NOISE)]
    noises = len(others) < len(keys)
    if len(others) + noises <= MOST_SETTINGS:
        words = [[_setting(key, identity.experiment(part[0].config).get(key)) for key in others] for part in parts]
        return [", ".join([*([noise_name(part)] if noises else []), *w]) for part, w in zip(parts, words, strict=True)]
    return names


def _setting(key: str, value: Any) -> str:
    """A setting in words: its key without the group that it is in, or that group for its name."""
    short = key.rpartition(".")[2]
    group = key.rpartition(".")[0].rpartition(".")[2]
    spoken = group if short == "name" and group else short
    return f"{spoken.replace('_', ' ')} {value}"
