"""The runs of a folder: one run, or many, those of a sweep that have not begun included."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from overfit_lab.errors import OverfitLabError, RunFolderError
from overfit_lab.files.escape import as_unicode
from overfit_lab.probes.metrics.phases import THRESHOLD
from overfit_lab.records import layout
from overfit_lab.records.reader import find_runs
from overfit_lab.records.writer import is_held
from overfit_lab.views.diagnosis.finding import check_threshold
from overfit_lab.views.live.alarm import Alarm
from overfit_lab.views.live.following import Followed
from overfit_lab.views.live.view import View, view_of


@dataclass
class Watched:
    """The runs of a folder, looked at together.

    Args:
        path: a run folder, or a folder of run folders.
        threshold: drop of accuracy that counts as overfitting, in (0, 1).

    Raises:
        RunFolderError: no such folder.
        ConfigError: no such threshold.
    """

    path: Path
    threshold: float = THRESHOLD
    _runs: dict[Path, tuple[Followed, Alarm]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_threshold(self.threshold)
        if not self.path.is_dir():
            raise RunFolderError(f"{self.path}: no such run folder")

    def look(self) -> list[View]:
        """A view of each run, in the order of their names, those of a sweep in the sweep's.

        A run among several that cannot be read is shown as failed, with the reason as its stage.

        Raises:
            RunFolderError: the folder holds no run, or its only run is damaged.
        """
        planned = self._planned()
        try:
            folders = [run.folder for run in find_runs([self.path])]
        except RunFolderError:
            if not planned:
                raise
            folders = []
        begun = {self._name(folder): folder for folder in folders}
        names = [*planned, *sorted(set(begun) - set(planned))]
        alone = len(names) == 1
        return [self._view(name, begun[name], alone) if name in begun else View(name) for name in names]

    @property
    def is_live(self) -> bool:
        """Whether a sweep's process holds the folder, so that runs which have not begun will."""
        return bool(self._planned()) and is_held(self.path)

    def _name(self, folder: Path) -> str:
        """The run's name: its path below the folder."""
        name = folder.resolve().name if folder == self.path else folder.relative_to(self.path).as_posix()
        return as_unicode(name)

    def _view(self, name: str, folder: Path, alone: bool) -> View:
        try:
            if folder not in self._runs:
                self._runs[folder] = (Followed(folder), Alarm(self.threshold))
            run, alarm = self._runs[folder]
            run.look()
            return replace(view_of(run, alarm, time.time()), name=name)
        except OverfitLabError as error:
            if alone:
                raise
            return View(name, status="failed", stage=str(error))

    def _planned(self) -> list[str]:
        """Folders of a sweep's cells, in order; none where the folder is no sweep or its file is damaged."""
        if layout.is_run(self.path):
            return []
        try:
            return list(json.loads((self.path / layout.SWEEP).read_text(encoding="utf-8"))["cells"])
        except (OSError, ValueError, KeyError, TypeError):
            return []
