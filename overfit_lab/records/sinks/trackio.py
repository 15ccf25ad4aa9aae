"""Trackio: local experiment tracking."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

from overfit_lab.records.records import Record
from overfit_lab.records.sinks.base import Beginning, ServiceSink, flat, scalars

PROJECT = "overfit-lab"


class TrackioSink(ServiceSink):
    """Trackio: a run in its local database, steps are epochs; `trackio show` draws it.

    The database lies where trackio keeps it (TRACKIO_DIR). The run's name there ends in six digits that tell runs of
    one name apart. Until it ends it is trackio's current run in this process.

    Args:
        project: in place of TRACKIO_PROJECT, or of ``overfit-lab`` where that is not set.
        **options: further arguments of ``trackio.init``.
    """

    package = "trackio"

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
