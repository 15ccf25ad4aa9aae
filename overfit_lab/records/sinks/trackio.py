"""Trackio: local experiment tracking."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

from overfit_lab.errors import missing
from overfit_lab.records.records import Record
from overfit_lab.records.sinks.base import Beginning, Sink, flat, scalars

PROJECT = "overfit-lab"


class TrackioSink(Sink):
    """Trackio: a run in its local database, steps are epochs; `trackio show` draws it.

    The database lies where trackio keeps it (TRACKIO_DIR). The run's name there ends in six digits that tell runs of
    one name apart. Until it ends it is trackio's current run in this process.

    Args:
        project: in place of TRACKIO_PROJECT, or of ``overfit-lab`` where that is not set.
        **options: further arguments of ``trackio.init``.
    """

    def __init__(self, project: str | None = None, **options: Any) -> None:
        self._project = project
        self._options = options
        self._run: Any = None

    def check(self) -> None:
        """The package is there."""
        if importlib.util.find_spec("trackio") is None:
            raise missing("trackio", "trackio")

    def begin(self, run: Beginning) -> None:
        """Begin the run there, or go on with it."""
        with redirect_stdout(sys.stderr):  # what trackio has to say is no output of ours
            import trackio

            options = {
                "project": self._project or os.environ.get("TRACKIO_PROJECT") or PROJECT,
                "name": f"{run.name}-{run.id[:6]}",
                "config": flat(run.config),
                "resume": "allow",
                "embed": False,
                "auto_log_gpu": False,
                "auto_log_cpu": False,
            }
            self._run = trackio.init(**{**options, **self._options})

    def records(self, records: Sequence[Record]) -> None:
        """One row of metrics, at step = epoch."""
        self._run.log(scalars(records), step=records[0].epoch)

    def end(self, status: str) -> None:
        """Write what is waiting."""
        with redirect_stdout(sys.stderr):
            import trackio

            trackio.finish()


REGISTER = {"trackio": TrackioSink}
