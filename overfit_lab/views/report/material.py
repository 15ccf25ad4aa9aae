"""Material of all sections: the runs, their groups, the diagnosis and the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from overfit_lab.errors import OverfitLabError
from overfit_lab.probes.metrics.phases import THRESHOLD
from overfit_lab.records.reader import Run
from overfit_lab.records.summary import RAW, second_weights
from overfit_lab.views.diagnosis import diagnose as diagnosing
from overfit_lab.views.diagnosis.finding import Diagnosis
from overfit_lab.views.figures.experiments import by_experiment
from overfit_lab.views.figures.series import title_of
from overfit_lab.views.report.drawings import ONE_WAY, Drawing, draw_all


@dataclass(frozen=True)
class Group:
    """The seeds of one experiment on one set of weights: one line in every chart.

    ``key`` names it as figures do, so that it looks the same there; ``title`` is for a reader, in plain text.
    """

    key: str
    title: str
    weights: str
    runs: tuple[Run, ...]


class Material:
    """Some runs, at least one, read once for all sections."""

    def __init__(self, runs: Sequence[Run], title: str, threshold: float = THRESHOLD) -> None:
        self.runs = tuple(runs)
        self.title = title
        self.threshold = threshold

    @cached_property
    def names(self) -> dict[Run, str]:
        """A name for each run that no other has: its folder's, with the folder above where two have the same."""
        plain = [run.name for run in self.runs]
        return {
            run: run.name if plain.count(run.name) == 1 else f"{run.folder.resolve().parent.name}/{run.name}"
            for run in self.runs
        }

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Experiments in the order of the figures, each on every set of weights; imported weights one by one, last."""
        imported = [run for run in self.runs if run.is_imported]
        groups = []
        for key, members in by_experiment([run for run in self.runs if not run.is_imported]).items():
            for weights in (RAW, *sorted({name for run in members for name in second_weights(run)})):
                words = "" if weights == RAW else f", {weights} weights"
                groups.append(Group(f"{key}{words}", f"{title_of(key)}{words}", weights, tuple(members)))
        return (*groups, *(Group(self.names[run], f"{self.names[run]} (imported)", RAW, (run,)) for run in imported))

    @cached_property
    def diagnosis(self) -> Diagnosis | str:
        """The diagnosis of the runs; a line of text if there is none."""
        try:
            return diagnosing.diagnose(self.runs, self.threshold)
        except OverfitLabError as error:
            return str(error)

    @cached_property
    def drawings(self) -> tuple[Drawing, ...]:
        """Every figure of the registry, of all runs; then figures of the runs of single findings."""
        diagnosis = self.diagnosis
        wanted = [] if isinstance(diagnosis, str) else [(f.figure, f.runs) for f in diagnosis.findings if f.figure]
        return tuple(draw_all(self.runs, wanted))

    def anchor_of(self, figure: str | None, runs: Sequence[str]) -> str | None:
        """The anchor of a figure of these runs, else of the figure of all runs, else None.

        A figure of :data:`ONE_WAY` of all runs does not count, since it may show others than these.
        """
        anchors = {
            drawing.runs: drawing.anchor for drawing in self.drawings if drawing.name == figure and drawing.image
        }
        everything = tuple(run.name for run in self.runs)
        drawn = tuple(runs) or everything
        return anchors.get(drawn, None if figure in ONE_WAY else anchors.get(everything))
