"""Groups of runs for figures: an experiment a name, or one experiment alone."""

from __future__ import annotations

from collections.abc import Sequence

from overfit_lab.errors import RunFolderError
from overfit_lab.records.experiments import differences, experiments, tell_apart
from overfit_lab.records.reader import Run
from overfit_lab.views.figures.series import by_labels, title_of


def by_experiment(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs by label mode as :func:`by_labels` gives them, and apart where they differ in more than the seed.

    A label mode with several experiments has each under its own name: ``sglr (temperature 0.5)``.
    """
    named: dict[str, list[Run]] = {}
    for name, members in by_labels(runs).items():
        parts = experiments(members)
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
    if differing:
        listed = "; ".join(f"{key}: {', '.join(map(str, values))}" for key, values in list(differing.items())[:3])
        more = f"; and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise RunFolderError(f"{figure}: {complaint} ({listed}{more}); give those of one")


def one_a_seed(runs: Sequence[Run]) -> list[Run]:
    """The first run of each seed, so that a seed which two studies hold counts once."""
    first: dict[int, Run] = {}
    for run in runs:
        first.setdefault(run.config.seed, run)
    return list(first.values())
