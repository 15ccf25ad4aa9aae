"""Probing within a share of training time, or within seconds: what was asked for, what was chosen, what was spent."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overfit_lab.config import ProbesConfig, parse_share, parse_time
from overfit_lab.config.catalog import PROBES
from overfit_lab.errors import ConfigError, RunFolderError
from overfit_lab.files.disk import disk
from overfit_lab.files.json_text import read_json
from overfit_lab.files.writing import write_bytes
from overfit_lab.probes.base import Probe
from overfit_lab.probes.pilot import BudgetTooSmallError, Choice, choose_sizes
from overfit_lab.probes.snapshot import Snapshot
from overfit_lab.records import layout
from overfit_lab.records.reader import Run
from overfit_lab.records.writer import RunWriter
from overfit_lab.training.events import EpochEnded
from overfit_lab.training.parts import make_probes

OnBudget = Callable[[dict[str, Any]], None]
"""Told what was chosen for a budget and what it took."""


@dataclass(frozen=True)
class Budget:
    """What was asked for.

    Args:
        share: of training time; None where seconds were given.
        absolute: seconds; None where a share was given.
    """

    text: str
    share: float | None
    absolute: float | None

    def seconds(self, training_seconds: float | None) -> float:
        """The seconds that it comes to.

        Raises:
            ConfigError: a share, and no training time is known.
        """
        if self.absolute is not None:
            return self.absolute
        if not training_seconds:
            raise ConfigError(f"budget {self.text}: no training time is recorded here; give seconds, such as 30s")
        return float(self.share or 0) * training_seconds


def parse_budget(value: str | float) -> Budget:
    """``5%`` of training time, as text or as the share 0.05, or a time such as ``30s`` or ``2m``.

    Raises:
        ConfigError: anything else.
    """
    text = str(value)
    with suppress(ValueError):
        return Budget(text, None, parse_time(text))
    with suppress(ValueError):
        return Budget(text, parse_share(value), None)
    raise ConfigError(f"budget {text!r}: expected a share of training time such as 5%, or a time such as 30s or 2m")


def training_seconds(folder: Path) -> float | None:
    """Seconds that a run's training took, without evaluation and probes; where not recorded, all its seconds."""
    run = Run.open(folder)
    seconds = float(run.series("training", "seconds_training")["value"].sum())
    return seconds or float(run.info.get("wall_seconds") or 0) or None


def with_sizes(settings: ProbesConfig, sizes: dict[str, int]) -> ProbesConfig:
    """The settings with each probe's ``n`` put in, and no budget."""
    options = {PROBES.canonical(name): dict(values) for name, values in settings.options.items()}
    for name, n in sizes.items():
        options[PROBES.canonical(name)] = {**options.get(PROBES.canonical(name), {}), "n": n}
    return settings.model_copy(update={"options": options, "budget": None})


def chosen_before(settings: ProbesConfig, info: dict[str, Any]) -> ProbesConfig:
    """The settings with the sizes that a run with a budget chose, where none are given."""
    with_n = {PROBES.canonical(name) for name, values in settings.options.items() if "n" in values}
    sizes = info.get("probe_sizes", {}) if settings.n is None else {}
    return with_sizes(settings, {name: int(n) for name, n in sizes.items() if PROBES.canonical(name) not in with_n})


def caps_of(settings: ProbesConfig) -> dict[str, int]:
    """The sizes that are given in so many words: a probe gets no more than that."""
    sizes = {PROBES.canonical(name): values.get("n") for name, values in settings.options.items()}
    asked = {PROBES[name].name: sizes.get(PROBES.canonical(name)) or settings.n for name in settings.metrics}
    return {name: n for name, n in asked.items() if n is not None}


def fit(
    settings: ProbesConfig,
    snapshot: Snapshot,
    budget: Budget,
    training: float | None,
    *,
    n_measurements: int,
    key: str,
    probes: Sequence[Probe] | None = None,
    fewest: int | None = None,
) -> tuple[ProbesConfig, Choice]:
    """The settings with sizes that keep within the budget, and how they were chosen.

    Args:
        training: seconds of training that a share is taken of.
        key: where the budget was given, for the message.
        probes: those that are to be measured, where not all.
        fewest: to how few times that may be cut.

    Raises:
        ConfigError: the fewest meaningful samples do not fit; the line says what would.
    """
    seconds = budget.seconds(training)
    probes = list(probes) if probes is not None else make_probes(settings)
    try:
        choice = choose_sizes(
            probes, snapshot, seconds, n_measurements=n_measurements, fewest=fewest, caps=caps_of(settings)
        )
    except BudgetTooSmallError as error:
        least = f"{math.ceil(1.1 * error.least)}s"
        if budget.absolute is None and training:
            least = f"{_up(110 * error.least / training)}%"
        raise ConfigError(f"{key} {budget.text}: {error}; about {least} would do, or fewer metrics") from error
    by_name = {probe.name: choice.sizes[probe.name] for probe in probes}
    named = {name: by_name[PROBES[name].name] for name in settings.metrics if PROBES[name].name in by_name}
    return with_sizes(settings, named), choice


def _up(percent: float) -> str:
    """Two digits, rounded up."""
    digits = 1 - math.floor(math.log10(percent))
    return f"{math.ceil(percent * 10**digits) / 10**digits:g}"


def report(budget: Budget, choice: Choice, training: float | None, spent: float) -> dict[str, Any]:
    """What was chosen and what it took, for a file.

    Args:
        spent: seconds that the measurements took, without the pilot.
    """
    total = spent + choice.pilot_seconds
    return {
        "budget": budget.text,
        "budget_seconds": round(budget.seconds(training), 6),
        "training_seconds": None if training is None else round(training, 6),
        "pilot_seconds": round(choice.pilot_seconds, 6),
        "n": choice.sizes,
        "seconds": round(total, 6),
        "share": None if not training else round(total / training, 6),
    }


def in_words(content: dict[str, Any]) -> str:
    """One line of a report."""
    sizes = ", ".join(f"{name} {n}" for name, n in content["n"].items())
    share = "" if content["share"] is None else f", {content['share']:.2%} of training"
    return (
        f"budget {content['budget']} = {content['budget_seconds']:.3g} s: n = {sizes}; "
        f"took {content['seconds']:.3g} s with a pilot of {content['pilot_seconds']:.3g} s{share}"
    )


def keep_report(folder: Path, content: dict[str, Any]) -> None:
    """Add a report to the run folder's budget.json, atomically."""
    path = layout.budgets_path(folder)
    before: list[Any] = []
    if path.is_file():
        try:
            content_before = read_json(path)
            before = content_before if isinstance(content_before, list) else [content_before]
        except RunFolderError:  # it may be of use to somebody who can mend it
            disk().replace(path, path.with_name(f"{path.name}.damaged"))
    write_bytes(path, (json.dumps([*before, content], indent=2) + "\n").encode())


@dataclass
class Spending:
    """Keeps the measurements of one command within its budget; without one it only hands the probes through.

    Args:
        budget: what was asked for; None: nothing.
        training: seconds of training that a share is taken of.
        probes: those of them that are measured.
        on_budget: called with what was chosen and what it took.

    Raises:
        ConfigError: a share of a training time that is not known.
    """

    budget: Budget | None
    training: float | None
    settings: ProbesConfig
    probes: list[Probe]
    n_measurements: int
    on_budget: OnBudget | None
    choice: Choice | None = None
    spent: float = 0.0

    def __post_init__(self) -> None:
        if self.budget is not None:
            self.budget.seconds(self.training)

    @contextmanager
    def measuring(self, snapshot: Snapshot) -> Iterator[list[Probe]]:
        """The probes for a snapshot, with sizes that the first one decides."""
        if self.budget is not None and self.choice is None:
            settings, self.choice = fit(
                self.settings,
                snapshot,
                self.budget,
                self.training,
                n_measurements=self.n_measurements,
                key="--budget",
                probes=self.probes,
            )
            names = {probe.name for probe in self.probes}
            self.probes = [probe for probe in make_probes(settings) if probe.name in names]
        started = time.perf_counter()
        yield self.probes
        self.spent += time.perf_counter() - started

    def tell(self, folder: Path | None) -> None:
        """Keep and hand on what was chosen and what it took."""
        if self.budget is None or self.choice is None:
            return
        content = report(self.budget, self.choice, self.training, self.spent)
        if folder is not None:
            keep_report(folder, content)
        if self.on_budget is not None:
            self.on_budget(content)


@dataclass(frozen=True)
class LiveBudget:
    """Chooses the sizes of a run's probes when they are due for the first time, and writes them to run.json.

    The budget is the share of the training time of all epochs, at the pace of the first probed one; the pilot is
    paid from it and the rest is shared out evenly. A resumed run takes the sizes that were written.

    Args:
        n_weights: sets of weights that are measured each time, the raw ones among them.
    """

    settings: ProbesConfig
    writer: RunWriter
    pilot: Callable[[float], None]
    n_epochs: int
    n_weights: int

    def __call__(self, event: EpochEnded) -> tuple[list[Probe], int]:
        """The probes with their sizes, and the epochs between measurements.

        Where the fewest meaningful samples do not fit as often as asked for, the probes run more rarely.

        Raises:
            ConfigError: they do not even fit at the first and the last time.
        """
        info = layout.read_info(self.writer.folder)
        if "probe_sizes" in info:
            return make_probes(with_sizes(self.settings, info["probe_sizes"])), info["probe_budget"]["every"]
        budget = parse_budget(self.settings.budget or "")
        pace = next(value.value for value in event.values if value.field == "seconds_training")
        settings, choice = fit(
            self.settings,
            event.snapshot,
            budget,
            pace * self.n_epochs,
            n_measurements=len(self._due(self.settings.every)) * self.n_weights,
            key="probes.budget",
            fewest=min(2, len(self._due(self.settings.every))) * self.n_weights,
        )
        every = self._thinned(choice.n_measurements // self.n_weights)
        self.pilot(choice.pilot_seconds)
        notes = {
            "budget": budget.text,
            "epoch": event.snapshot.clock.epoch,
            "every": every,
            "training_seconds_per_epoch": pace,
            "pilot_seconds": choice.pilot_seconds,
            "seconds_per_measurement": choice.seconds,
            "expected_seconds": choice.expected,
        }
        sizes = {name: settings.options[PROBES.canonical(name)]["n"] for name in settings.metrics}
        self.writer.update_info(probe_sizes=sizes, probe_budget=notes)
        return make_probes(settings), every

    def _due(self, every: int) -> set[int]:
        """The epochs at which probes run: the first time that was asked for, every so many, and the last one."""
        return {min(self.settings.every, self.n_epochs), *range(every, self.n_epochs + 1, every), self.n_epochs}

    def _thinned(self, most: int) -> int:
        """The epochs between measurements for which there are no more than that many; a multiple of what was asked."""
        every = self.settings.every
        while len(self._due(every)) > most:
            every += self.settings.every
        return every
