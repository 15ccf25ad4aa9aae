"""The model against what runs took: each run's training and evaluation, recorded and predicted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from overfit_lab.config import NoiseConfig
from overfit_lab.records.reader import Run
from overfit_lab.sweeps.cost.data_shape import of_run
from overfit_lab.sweeps.cost.workload import Work, Workload, workload

PACE = 0.1
"""The quantile of the epochs' seconds that stands for an undisturbed epoch."""


@dataclass(frozen=True)
class Observed:
    """One run's work and seconds.

    Args:
        name: of its folder.
        work: what training did.
        evaluation: what evaluation did.
        seconds: of training, as recorded.
        pace: the same at the pace of an undisturbed epoch.
        evaluation_seconds: as recorded; None where they were not.
        beside: how many of the runs looked at were trained at a time while this one was, itself counted.
    """

    name: str
    work: Work
    evaluation: Work
    seconds: float
    pace: float
    evaluation_seconds: float | None
    beside: float

    @property
    def family(self) -> str:
        """The run without its seed."""
        return re.sub(r"-seed\d+$", "", self.name)


def observe(runs: Sequence[Run], names: Sequence[str]) -> list[Observed]:
    """What runs did and took; a run that records no seconds of training is left out.

    Args:
        runs: runs, all of one machine.
        names: what to call them.

    Cost: a rehearsal for each different configuration.
    """
    spans = [_span(run) for run in runs]
    kept: dict[str, Workload] = {}
    found = []
    for run, name, span in zip(runs, names, spans, strict=True):
        seconds = run.series("training", "seconds_training")["value"].to_numpy()
        if not len(seconds):
            continue
        data = run.config.data.model_copy(update={"noise": NoiseConfig()})  # costs nothing
        own = run.config.model_copy(update={"name": "run", "seed": 0, "data": data})
        key = own.model_dump_json()
        if key not in kept:
            kept[key] = workload(own, of_run(run.info))
        evaluation = run.series("training", "seconds_evaluation")["value"].to_numpy()
        found.append(
            Observed(
                name=name,
                work=kept[key].training,
                evaluation=kept[key].parts["evaluation"],
                seconds=float(seconds.sum()),
                pace=float(np.quantile(seconds, PACE) * len(seconds)),
                evaluation_seconds=float(evaluation.sum()) if len(evaluation) else None,
                beside=_beside(span, spans),
            )
        )
    return found


def fit(observed: Iterable[Observed]) -> tuple[float, float]:
    """Rate (floating-point operations a second) and seconds an operation, by least squares of the relative errors."""
    rows = [(run.work.flops / run.pace, run.work.calls / run.pace) for run in observed]
    (a, b), *_ = np.linalg.lstsq(np.array(rows, dtype=float), np.ones(len(rows)), rcond=None)
    return float(1 / a), float(b)


def _span(run: Run) -> tuple[float, float]:
    """When training began and ended, seconds since 1970."""
    began, ended = (datetime.fromisoformat(str(run.info[key])).timestamp() for key in ("started", "ended"))
    return began, max(ended, began + 1)


def _beside(span: tuple[float, float], spans: Sequence[tuple[float, float]]) -> float:
    """Runs at a time on average within a span, that of the span itself counted."""
    began, ended = span
    shared = sum(max(0.0, min(ended, b) - max(began, a)) for a, b in spans)
    return shared / (ended - began)
