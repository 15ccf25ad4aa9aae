"""Groups of runs for figures: an experiment a name, or one experiment alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from overfit_lab.errors import RunFolderError
from overfit_lab.records.experiments import alike, differences, experiments, tell_apart, unrepeated
from overfit_lab.records.reader import Run
from overfit_lab.views.figures.series import by_labels, noise_rate, split_name, title_of


def by_experiment(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs by label mode as :func:`by_labels` gives them, and apart where they differ in more than the seed.

    A label mode with several experiments has each under its own name: ``sglr (temperature 0.5)``.
    """
    return apart(by_labels(runs))


def apart(groups: Mapping[str, Sequence[Run]]) -> dict[str, list[Run]]:
    """Groups of runs, each split into its experiments, which have words on what tells them apart in their names."""
    named: dict[str, list[Run]] = {}
    for name, members in groups.items():
        parts = experiments(unrepeated(members)[0])
        for part, words in zip(parts, tell_apart(parts), strict=True):
            named[f"{name} ({words})" if words else name] = part
    return named


def need_one_experiment(runs: Sequence[Run], figure: str, name: str) -> None:
    """Refuse runs of one label mode that are more than seeds of one experiment, for figures with one place for each.

    Raises:
        RunFolderError: they differ in more than the seed; the message says in what.
    """
    need_alike(runs, figure, f"the runs with {title_of(name)} differ in more than the seed")


def need_alike(runs: Sequence[Run], figure: str, complaint: str, also_free: Sequence[str] = ()) -> None:
    """Refuse runs that differ in more than the seed and ``also_free``, keys of the configuration or groups of them.

    Raises:
        RunFolderError: they do; the message begins with the complaint and says in what.
    """
    differing = differences(runs, also_free)
    if not differing and len(experiments(runs, also_free)) > 1:
        raise RunFolderError(f"{figure}: {' '.join(alike(runs))[:1].lower()}{' '.join(alike(runs))[1:]}")
    if differing:
        listed = "; ".join(f"{key}: {', '.join(map(str, values))}" for key, values in list(differing.items())[:3])
        more = f"; and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise RunFolderError(f"{figure}: {complaint} ({listed}{more}); give those of one")


def curves_of(
    runs: Sequence[Run], figure: str, beyond: str = "", also_free: Sequence[str] = ()
) -> dict[str, list[Run]]:
    """Runs by curve: by label mode, and by objective too if there are several.

    Raises:
        RunFolderError: the runs of one curve differ in more than the seed, ``beyond`` which ``also_free`` may differ.
    """
    groups = by_labels(runs)
    for name, members in groups.items():
        complaint = f"the runs with {title_of(name)} differ in more than the seed{beyond}"
        need_alike(members, figure, complaint, also_free)
    several = len({split_name(name)[0] for name in groups}) > 1
    return groups if several else {split_name(name)[1]: members for name, members in groups.items()}


def noisy_of(runs: Sequence[Run], figure: str) -> list[Run]:
    """The runs with label noise.

    Raises:
        RunFolderError: there is none.
    """
    noisy = [run for run in runs if noise_rate(run) > 0]
    if not noisy:
        raise RunFolderError(
            f"{figure}: no run with label noise; train with --set data.noise.kind=symmetric and a rate"
        )
    return noisy


def standard_of(runs: Sequence[Run]) -> list[Run]:
    """The runs of standard training."""
    return [run for run in runs if run.config.objective.name == "standard"]


def accuracy_of(runs: Sequence[Run]) -> tuple[str, str, str]:
    """Kind, field and inputs of the accuracy to draw: clean for standard training, robust for adversarial training."""
    return ("clean", "acc_clean", "clean") if standard_of(runs[:1]) else ("robust", "acc_adv", "adversarial")


def one_a_seed(runs: Sequence[Run]) -> list[Run]:
    """The first run of each seed, so that a seed which two studies hold counts once."""
    first: dict[int, Run] = {}
    for run in runs:
        first.setdefault(run.config.seed, run)
    return list(first.values())
