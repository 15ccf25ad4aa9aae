"""Everything one run consists of while it trains."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from overfit_lab.config import RunConfig
from overfit_lab.data.loader import Loader
from overfit_lab.methods.attacks.base import Attack
from overfit_lab.methods.labels.base import LabelMode
from overfit_lab.methods.objectives.base import Objective
from overfit_lab.methods.regularizers.base import Regularizer
from overfit_lab.methods.schedules.base import Schedule
from overfit_lab.methods.teachers import Teachers
from overfit_lab.probes.priors.store import PriorStore
from overfit_lab.probes.snapshot import RAW, History, Snapshot
from overfit_lab.processes.share import Share
from overfit_lab.processes.world import ALONE, World
from overfit_lab.training.tally import EpochTallies
from overfit_lab.types import Clock, Dataset


@dataclass
class Session:
    """Everything one run consists of while it trains; :func:`~.training.build.build` makes it from a configuration.

    ``clock`` is where training stands: completed epochs and steps. ``regularizers`` are applied in their order.
    ``world`` are the processes that share the run's batches; ``tallies`` holds what the present epoch came to so far.
    """

    config: RunConfig
    device: torch.device
    data: Dataset
    model: nn.Module
    reference: dict[str, Tensor]
    penultimate: str | None
    loader: Loader
    attack: Attack | None
    evaluation_attack: Attack | None
    objective: Objective
    labels: LabelMode
    schedule: Schedule
    optimizer: Optimizer
    clock: Clock
    regularizers: dict[str, Regularizer] = field(default_factory=dict)
    eps_schedule: Schedule | None = None
    corruption: Attack | None = None
    black_box: Attack | None = None
    teachers: Teachers | None = None
    priors: PriorStore = field(default_factory=PriorStore)
    history: Callable[[Clock], History] | None = None
    autocast_dtype: torch.dtype | None = None
    compute: dict[str, Any] = field(default_factory=dict)
    world: World = ALONE
    tallies: EpochTallies | None = None

    def share(self, n: int) -> Share:
        """This process's part of a batch of n samples."""
        return self.world.share(n, paired=self.objective.pairs_samples)

    @property
    def sees_whole_batches(self) -> bool:
        """Whether this process draws the whole of a batch before it takes its rows.

        So it is where a regularizer or the objective changes images: it may mix them, or draw numbers for all of them.
        """
        changes = [type(r).batch is not Regularizer.batch for r in self.regularizers.values()]
        return self.world.size > 1 and (any(changes) or type(self.objective).inputs is not Objective.inputs)

    def autocast(self) -> AbstractContextManager[object]:
        """Mixed precision where the run asks for it."""
        enabled = self.autocast_dtype is not None
        return torch.autocast(self.device.type, dtype=self.autocast_dtype, enabled=enabled)

    @property
    def ended(self) -> bool:
        """Whether all epochs are done, or a regularizer ended training."""
        return self.clock.epoch >= self.config.epochs or any(r.finished for r in self.regularizers.values())

    def snapshot(self, model: nn.Module | None = None, weights: str = RAW, drawn_at: int | None = None) -> Snapshot:
        """The model as it stands, or another one in its place, for evaluation and probes."""
        return Snapshot(
            self.model if model is None else model,
            self.data,
            clock=self.clock,
            seed=self.config.seed,
            attack=self.evaluation_attack,
            corruption=self.corruption,
            black_box=self.black_box,
            objective=self.objective,
            labels=self.labels,
            reference=self.reference,
            penultimate=self.penultimate,
            chunk=self.config.evaluation.chunk,
            batch_size=self.config.batch_size,
            weights=weights,
            drawn_at=drawn_at,
            priors=self.priors,
            history=self.history(self.clock) if self.history is not None else None,
        )

    def second_snapshots(self) -> list[Snapshot]:
        """The second weights that regularizers keep, each in a copy of the model.

        Cost: a copy of the model each, and what a regularizer needs for its batch-norm statistics.
        """
        found = []
        for name, regularizer in self.regularizers.items():
            with torch.no_grad():
                other = copy.deepcopy(self.model)
                if regularizer.second_weights(other):
                    found.append(self.snapshot(other, name, regularizer.drawn_at))
        return found
