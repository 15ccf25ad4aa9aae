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
from overfit_lab.methods.attacks.graphed import GraphedAscents
from overfit_lab.methods.labels.base import LabelMode
from overfit_lab.methods.objectives.base import Objective
from overfit_lab.methods.regularizers.base import Regularizer
from overfit_lab.methods.schedules.base import Schedule
from overfit_lab.methods.teachers import Teachers
from overfit_lab.probes.priors.store import PriorStore
from overfit_lab.probes.snapshot import RAW, History, Setting, Snapshot
from overfit_lab.processes.share import Share
from overfit_lab.processes.world import ALONE, World
from overfit_lab.training.divergence import Divergence
from overfit_lab.training.dynamics import Dynamics
from overfit_lab.training.tally import EpochTallies
from overfit_lab.types import Clock, Dataset


@dataclass
class Session:
    """Everything one run consists of while it trains; :func:`~.training.build.build` makes it from a configuration.

    ``clock`` is where training stands: completed epochs and steps. ``regularizers`` are applied in their order.
    ``world`` are the processes that share the run's batches; ``tallies`` holds what the present epoch came to so far.
    ``dynamics`` gathers what the outputs say of each sample, where that is recorded.
    ``ascents`` replay the training attack, where it is captured.
    ``weights_note`` says what was taken from a weights file; ``divergence`` where the run diverged, if it has.
    """

    config: RunConfig
    device: torch.device
    setting: Setting
    model: nn.Module
    loader: Loader
    attack: Attack | None
    schedule: Schedule
    optimizer: Optimizer
    clock: Clock
    regularizers: dict[str, Regularizer] = field(default_factory=dict)
    eps_schedule: Schedule | None = None
    teachers: Teachers | None = None
    history: Callable[[Clock], History] | None = None
    compute: dict[str, Any] = field(default_factory=dict)
    world: World = ALONE
    tallies: EpochTallies | None = None
    dynamics: Dynamics | None = None
    ascents: GraphedAscents | None = None
    weights_note: str = ""
    divergence: Divergence | None = None

    @property
    def data(self) -> Dataset:
        """The splits."""
        return self.setting.data

    @property
    def objective(self) -> Objective:
        """The training objective."""
        assert self.setting.objective is not None
        return self.setting.objective

    @property
    def labels(self) -> LabelMode:
        """The label mode with its memory."""
        assert self.setting.labels is not None
        return self.setting.labels

    @property
    def reference(self) -> dict[str, Tensor]:
        """Theta_0: parameters by name, which weights are compared with."""
        return self.setting.reference or {}

    @property
    def priors(self) -> PriorStore:
        """What the priors of IIW are made from."""
        return self.setting.priors

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
        enabled = self.compute.get("precision") == "bf16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    @property
    def ended(self) -> bool:
        """Whether all epochs are done, or a regularizer ended training."""
        return self.clock.epoch >= self.config.epochs or any(r.finished for r in self.regularizers.values())

    @property
    def given_up(self) -> bool:
        """Whether the run diverged and is not to go on."""
        return self.divergence is not None and self.config.when_diverged == "stop"

    def snapshot(self, model: nn.Module | None = None, weights: str = RAW, drawn_at: int | None = None) -> Snapshot:
        """The model as it stands, or another one in its place, for evaluation and probes."""
        return Snapshot.of(
            self.setting,
            model=self.model if model is None else model,
            clock=self.clock,
            weights=weights,
            drawn_at=drawn_at,
            history=self.history(self.clock) if self.history is not None else None,
        )

    def second_snapshots(self) -> list[Snapshot]:
        """The second weights that regularizers keep, each in a copy of the model.

        Cost: a copy of the model each, and what a regularizer needs for its batch-norm statistics.
        """
        snapshots = []
        for name, regularizer in self.regularizers.items():
            with torch.no_grad():
                other = copy.deepcopy(self.model)
                if regularizer.second_weights(other):
                    snapshots.append(self.snapshot(other, name, regularizer.drawn_at))
        return snapshots
