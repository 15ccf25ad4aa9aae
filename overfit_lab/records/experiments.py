"""Which runs are seeds of one experiment, so that nothing but seeds is ever averaged, and what tells others apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from overfit_lab.records import identity
from overfit_lab.records.reader import Run
from overfit_lab.records.summary import common_name

MOST_SETTINGS = 2
"""Experiments that differ in more settings are told apart by the names of their folders."""
NOISE = "data.noise."


def experiments(runs: Sequence[Run], also_free: Sequence[str] = ()) -> list[list[Run]]:
    """Runs of one :func:`overfit_lab.records.identity.experiment` together, in the order in which they come."""
    groups: list[tuple[dict[str, Any], list[Run]]] = []
    for run in runs:
        settings = identity.experiment(run.config, also_free)
        members = next((members for other, members in groups if other == settings), None)
        if members is None:
            groups.append((settings, [run]))
        else:
            members.append(run)
    return [members for _, members in groups]


def differences(runs: Sequence[Run], also_free: Sequence[str] = ()) -> dict[str, list[Any]]:
    """The settings in which runs differ, each with its values in the order in which they come."""
    settings = [identity.experiment(run.config, also_free) for run in runs]
    differing: dict[str, list[Any]] = {}
    for key in dict.fromkeys(key for one in settings for key in one):
        values = [one.get(key) for one in settings]
        distinct = [value for i, value in enumerate(values) if value not in values[:i]]
        if len(distinct) > 1:
            differing[key] = distinct
    if sum(key.startswith("regularizers") for key in differing) > 1:
        differing.pop(identity.ORDER, None)  # other regularizers have another order too
    return differing


def tell_apart(parts: Sequence[Sequence[Run]], also_free: Sequence[str] = ()) -> list[str]:
    """Words for each of some experiments that say in what it differs from the others; "" for a single one.

    At most :data:`MOST_SETTINGS` settings are named; where experiments differ in more, the name of the runs is taken.
    """
    if len(parts) == 1:
        return [""]
    keys = list(differences([part[0] for part in parts], also_free))
    others = [key for key in keys if not key.startswith(NOISE)]
    noises = len(others) < len(keys)
    if len(others) + noises <= MOST_SETTINGS:
        words = [[_setting(key, identity.experiment(part[0].config).get(key)) for key in others] for part in parts]
        return [", ".join([*([noise_name(part)] if noises else []), *w]) for part, w in zip(parts, words, strict=True)]
    names = [common_name([run.name for run in part]) for part in parts]
    return names if len(set(names)) == len(names) else [str(part[0].folder) for part in parts]


def _setting(key: str, value: Any) -> str:
    """A setting in words: its key without the group that it is in, or that group for its name."""
    short = key.rpartition(".")[2]
    group = key.rpartition(".")[0].rpartition(".")[2]
    spoken = group if short == "name" and group else short
    return f"{spoken.replace('_', ' ')} {value}"


def noise_name(runs: Sequence[Run]) -> str:
    """The runs' label noise in words; nothing is known of imported weights and arrays given to a monitor."""
    runs = [run for run in runs if not run.is_imported and run.config.data.name != "arrays"]
    kinds = {(noise.rate, noise.kind) for run in runs if (noise := run.config.data.noise).kind != "none"}
    noisy = [f"{rate:.0%} {kind} label noise" for rate, kind in sorted(kinds) if rate > 0]
    without = any(run.config.data.noise.kind == "none" or run.config.data.noise.rate == 0 for run in runs)
    return " / ".join([*(["no label noise"] if without else []), *noisy])
